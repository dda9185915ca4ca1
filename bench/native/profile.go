package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

func (l *lane) profilePath(name string) string {
	if l.profile == "" {
		return ""
	}
	return filepath.Join(l.profile, name+".pprof")
}

// profileServer takes the server's CPU profile for some seconds; the function
// that it returns waits for it.
func (l *lane) profileServer(s *server) (wait func()) {
	if l.profile == "" || s == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.download(l.ctx, l.profilePath("server")); err != nil {
			_, _ = fmt.Fprintln(l.log, "profile of the server:", err)
		}
	}()
	return func() { <-done }
}

func (s *server) download(ctx context.Context, path string) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=4", s.pro)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o600)
}
