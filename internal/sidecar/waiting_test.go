package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// get is the answer to a path, as soon as somebody listens.
func get(t *testing.T, address, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		if answer, err := http.DefaultClient.Do(r); err == nil {
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(body)), " ", err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s%s: nobody answers", address, path)
		case <-tick.C:
		}
	}
}

func config(url string) bus.Config {
	return bus.Config{Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary, Version: "1", URLs: []string{url}}
}

func never(context.Context, *bus.Bus) error { return errors.New("JetStream has no leader") }

func TestASidecarThatWaitsForNATSAnswers(t *testing.T) {
	nats, address := free(t), free(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := startServing(ctx, address, config("nats://"+nats), zerolog.Nop(), never)
		ended <- err
	}()
	for path, want := range map[string]string{
		"/livez": "200 ok", "/readyz": "503 nats: waits for the first connection", "/metrics": "503 the sidecar waits for NATS", "/": "503 the sidecar waits for NATS",
	} {
		if got := get(t, address, path); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("connected to nobody")
	}
}

func TestASidecarThatCannotProvisionAnswersAndSaysWhy(t *testing.T) {
	address, url := free(t), natstest.Run(t).URL()
	ctx, stop := context.WithCancel(t.Context())
	ended, again := make(chan error, 1), make(chan struct{})
	go func() {
		calls := 0
		_, err := startServing(ctx, address, config(url), zerolog.Nop(), func(ctx context.Context, link *bus.Bus) error {
			if calls++; calls == 2 {
				close(again)
			}
			return never(ctx, link)
		})
		ended <- err
	}()
	<-again // by now it is known how the first one went
	for path, want := range map[string]string{"/livez": "200 ok", "/readyz": "503 nats: JetStream has no leader"} {
		if got := get(t, address, path); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was ended", err)
	}
}

func TestAPermanentErrorEndsTheStart(t *testing.T) {
	_, err := startServing(t.Context(), "", config(natstest.Run(t).URL()), zerolog.Nop(), func(context.Context, *bus.Bus) error {
		return daemon.Permanent(errors.New("no such storage"))
	})
	if err == nil || !strings.Contains(err.Error(), "no such storage") {
		t.Errorf("got %v, want the error", err)
	}
}

func TestTheAddressIsFreeOnceConnected(t *testing.T) {
	address := free(t)
	provisioned := false
	link, err := startServing(t.Context(), address, config(natstest.Run(t).URL()), zerolog.Nop(), func(context.Context, *bus.Bus) error {
		provisioned = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := link.Ready(); err != nil || !provisioned {
		t.Errorf("not ready: %v; provisioned: %v", err, provisioned)
	}
}

// Who cannot serve must not wait for a server to say so.
func TestATakenAddressEndsTheWait(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := startServing(t.Context(), ln.Addr().String(), config("nats://"+free(t)), zerolog.Nop(), never); err == nil || !strings.Contains(err.Error(), "serve http") {
		t.Errorf("got %v, want that the address is taken", err)
	}
}
