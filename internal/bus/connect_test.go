package bus_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func TestConnectRefusesABadConfigurationAsAWhole(t *testing.T) {
	_, err := bus.Connect(t.Context(), bus.Config{
		Cluster: "Main", Node: "all", Sidecar: "third", Storage: "tape", Replicas: 2,
		InboxPrefix: "a.>", URLs: []string{"nats://u:hunter2@"}, User: "u", Token: "t",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"cluster name", `"all"`, "sidecar", "storage", "replicas", "inbox prefix", "URL number 1", "login"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestConnectEndsAtOnceWhenTheLoginIsRefused(t *testing.T) {
	s := natstest.Run(t, func(o *natsserver.Options) { o.Username, o.Password = "db1", "right" })
	cfg := config(s.URL(), "db1")
	cfg.User, cfg.Password = "db1", "wrong"
	_, err := bus.Connect(t.Context(), cfg)
	wantErr(t, err, messages.ErrPermission)
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("the error shows the password: %v", err)
	}
	cfg.Password = "right"
	if err := join(t, cfg).Ready(); err != nil {
		t.Errorf("not ready with the right password: %v", err)
	}
}

func TestConnectEndsWithItsContextAndSaysWhichServers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := bus.Connect(ctx, config("nats://127.0.0.1:1", "db1"))
	wantErr(t, err, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("the error does not name the server: %v", err)
	}
}

func TestConnectEndsPromptlyBeforeASilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says INFO
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = bus.Connect(ctx, config("nats://"+l.Addr().String(), "db1"))
	wantErr(t, err, context.Canceled)
}

func TestConnectWaitsForAServerThatIsStillStarting(t *testing.T) {
	s := natstest.Run(t)
	cfg := config(s.URL(), "db1")
	s.Stop()
	got := make(chan error, 1)
	go func() {
		b, err := bus.Connect(t.Context(), cfg)
		if err == nil {
			b.Close()
		}
		got <- err
	}()
	s.Start()
	if err := receive(t, got, "the connection"); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsAreReportedLostAndRestored(t *testing.T) {
	type change struct {
		name string
		up   bool
	}
	changes := make(chan change, 64)
	s := natstest.Run(t)
	b := node(t, s, "db1", func(c *bus.Config) {
		c.OnConnection = func(name string, up bool, _ error) { changes <- change{name, up} }
	})
	s.Stop()
	seen := map[change]bool{}
	for !seen[change{"control", false}] || !seen[change{"bulk", false}] {
		seen[receive(t, changes, "the losses")] = true
	}
	wantErr(t, b.Ready(), messages.ErrUnavailable)
	s.Start()
	for !seen[change{"control", true}] || !seen[change{"bulk", true}] {
		seen[receive(t, changes, "the returns")] = true
	}
	if err := b.Ready(); err != nil {
		t.Errorf("both connections are back, but: %v", err)
	}
}

func TestCloseDoesNotWaitForAServerThatIsGone(t *testing.T) {
	s := natstest.Run(t)
	b := join(t, config(s.URL(), "db1"))
	s.Stop()
	natstest.Eventually(t, patience, "the loss", func() error {
		if b.Ready() == nil {
			return errors.New("still connected")
		}
		return nil
	})
	closed := make(chan struct{})
	go func() { b.Close(); close(closed) }()
	receive(t, closed, "Close")
}

func TestDeniedPermissionIsNamedInsteadOfATimeout(t *testing.T) {
	var seen faults
	s := natstest.Run(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{{Username: "db1", Password: "p", Permissions: &natsserver.Permissions{
			Publish: &natsserver.SubjectPermission{Deny: []string{"$KV.>"}},
		}}}
	})
	b := node(t, s, "db1", reportTo(&seen), func(c *bus.Config) { c.User, c.Password = "db1", "p" })
	_, err := b.Campaign(t.Context(), lease("db1", 1))
	wantErr(t, err, messages.ErrPermission)
	if !strings.Contains(err.Error(), "$KV.pgresync-main.lease") {
		t.Errorf("the error does not name the subject: %v", err)
	}
	seen.wait(t, messages.ErrPermission)
}
