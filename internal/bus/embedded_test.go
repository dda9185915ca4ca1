package bus_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/messages"
)

func embedded(t *testing.T, cfg bus.EmbeddedConfig) *bus.Embedded {
	t.Helper()
	e, err := bus.StartEmbedded(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestEmbeddedServerCarriesABusAndKeepsItsData(t *testing.T) {
	var lines atomic.Int64
	cfg := bus.EmbeddedConfig{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), Log: func(string, string) { lines.Add(1) }}
	e := embedded(t, cfg)
	b := join(t, config(e.URL(), "db1"))
	if err := b.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	rev := campaign(t, b, lease("db1", 1))
	b.Close()
	e.Close()
	if lines.Load() == 0 {
		t.Error("the server logged nothing")
	}

	e = embedded(t, cfg)
	b = join(t, config(e.URL(), "db1"))
	if _, got, err := b.Lease(t.Context()); err != nil || got != rev {
		t.Errorf("after a restart the lease is at %d, want %d (%v)", got, rev, err)
	}
}

func TestEmbeddedServerWantsItsLogin(t *testing.T) {
	e := embedded(t, bus.EmbeddedConfig{Listen: "0.0.0.0:0", StoreDir: t.TempDir(), Token: "s3cret"})
	if !strings.HasPrefix(e.URL(), "nats://127.0.0.1:") {
		t.Errorf("URL %s is none to connect to", e.URL())
	}
	cfg := config(e.URL(), "db1")
	_, err := bus.Connect(t.Context(), cfg)
	wantErr(t, err, messages.ErrPermission)
	cfg.Token = "s3cret"
	join(t, cfg)
}

func TestEmbeddedServerIsNotOpenToTheNetworkByAccident(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:4222", "db1.example:4222"} {
		_, err := bus.StartEmbedded(t.Context(), bus.EmbeddedConfig{Listen: listen, StoreDir: t.TempDir()})
		wantErr(t, err, messages.ErrRefused)
	}
}

func TestEmbeddedServerSaysWhyItDoesNotStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for what, tc := range map[string]struct{ listen, dir, want string }{
		"port taken":   {l.Addr().String(), t.TempDir(), "address already in use"},
		"no port":      {"127.0.0.1", t.TempDir(), "host:port"},
		"bad port":     {"127.0.0.1:x", t.TempDir(), "port"},
		"no directory": {"127.0.0.1:0", "", "store directory"},
		"a file there": {"127.0.0.1:0", "/dev/null", "/dev/null"},
	} {
		_, err := bus.StartEmbedded(context.WithoutCancel(t.Context()), bus.EmbeddedConfig{Listen: tc.listen, StoreDir: tc.dir})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", what, err, tc.want)
		}
	}
}
