package sidecar

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/bus"
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

func TestASidecarThatWaitsForNATSAnswers(t *testing.T) {
	nats, address := free(t), free(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := connectServing(ctx, address, config("nats://"+nats))
		ended <- err
	}()
	for path, want := range map[string]string{
		"/livez": "200 ok", "/readyz": "503 nats: waits for the first connection", "/metrics": "503 the sidecar waits", "/": "503 the sidecar waits",
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

func TestTheAddressIsFreeOnceConnected(t *testing.T) {
	address := free(t)
	link, err := connectServing(t.Context(), address, config(natstest.Run(t).URL()))
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
	if err := link.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
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
	if _, err := connectServing(t.Context(), ln.Addr().String(), config("nats://"+free(t))); err == nil || !strings.Contains(err.Error(), "serve http") {
		t.Errorf("got %v, want that the address is taken", err)
	}
}
