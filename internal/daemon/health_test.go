package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealth(t *testing.T) {
	var h Health
	steps := []struct {
		name string
		do   func()
		code int
		body string
	}{
		{"not ready before anything is known", func() {}, http.StatusServiceUnavailable, "starting\n"},
		{"ready when all conditions are met", func() { h.Set("nats", nil); h.Set("postgres", nil) }, http.StatusOK, "ok\n"},
		{
			"each unmet condition is named, in order",
			func() { h.Set("postgres", errors.New("down")); h.Set("nats", errors.New("away")) },
			http.StatusServiceUnavailable, "nats: away\npostgres: down\n",
		},
		{"ready again", func() { h.Set("nats", nil); h.Set("postgres", nil) }, http.StatusOK, "ok\n"},
	}
	for _, s := range steps {
		s.do()
		if code, body := get(t, h.Handler(), "/readyz"); code != s.code || body != s.body {
			t.Errorf("%s: got %d %q, want %d %q", s.name, code, body, s.code, s.body)
		}
		if code, _ := get(t, h.Handler(), "/livez"); code != http.StatusOK {
			t.Errorf("%s: /livez says %d", s.name, code)
		}
	}
	if code, _ := get(t, h.Handler(), "/"); code != http.StatusNotFound {
		t.Errorf("/ says %d, want 404", code)
	}
}

func TestServeUntilCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var h Health
	h.Set("x", nil)
	address := make(chan net.Addr, 1)
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, "127.0.0.1:0", h.Handler(), func(a net.Addr) { address <- a }) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + (<-address).String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "ok\n" {
		t.Errorf("got %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v, want nil after the context ended", err)
	}
}

func TestServeSaysWhatIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := ln.Addr().String()
	if err := Serve(t.Context(), address, http.NotFoundHandler(), nil); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v, want an error that names %s", err, address)
	}
}
