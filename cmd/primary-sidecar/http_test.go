package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/pgtest"
)

// running runs the primary sidecar as its command does, with HTTP on a free port,
// and returns its address once it is told in the log.
func running(t *testing.T) (url string) {
	t.Helper()
	t.Setenv("PGRESYNC_HTTP_LISTEN", "127.0.0.1:0")
	t.Setenv("PGRESYNC_SNAPSHOT_INTERVAL", "0")
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, in, io.Discard); in.Close() }()
	address := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line struct{ Message, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "http" {
				address <- line.Address
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-read
		http.DefaultClient.CloseIdleConnections()
	})
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case a := <-address:
		return "http://" + a
	case err := <-done:
		done <- err
		t.Fatal("it ended before it listened: ", err)
	case <-late.C:
		t.Fatal("it never listened")
	}
	return ""
}

func fetch(url string) (status int, body string, err error) {
	r, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

func TestSidecarShowsWhatItKnows(t *testing.T) {
	site(t, nil, pgtest.Options{}, pgtest.Superuser)
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	url := running(t)
	for path, want := range map[string][]string{
		"/livez": {"ok"}, "/readyz": {"ok"}, "/": {"<title>pgresync</title>"}, "/state": {`"publisher":"db1"`, `"state":"publishing"`},
		"/metrics": {
			`pgresync_ready{cluster="main",node="db1",sidecar="primary"} 1`, `pgresync_publishing{cluster="main",node="db1",sidecar="primary"} 1`,
			`pgresync_postgres_role{cluster="main",node="db1",role="primary",sidecar="primary"} 1`,
			`probe="slots",sidecar="primary"} 1`, `probe="pool",sidecar="primary"} 1`, `probe="live",sidecar="primary"} 1`, `probe="jetstream",sidecar="primary"} 1`,
			`pgresync_jetstream_limit_bytes{cluster="main",node="db1",sidecar="primary",which="parts"}`, `pgresync_child_processes_started_total{cluster="main",node="db1",program="zfs",sidecar="primary"}`,
		},
	} {
		natstest.Eventually(t, time.Minute, path, func() error {
			status, body, err := fetch(url + path)
			if err != nil {
				return err
			}
			for _, w := range want {
				if status != http.StatusOK || !strings.Contains(body, w) {
					return &lacks{path, w, body}
				}
			}
			return nil
		})
	}
	told := ""
	for !strings.Contains(told, "STATUS=publishing") {
		if err := systemd.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, err := systemd.Read(buf)
		if err != nil {
			t.Fatalf("systemd was told %q: %v", told, err)
		}
		told += string(buf[:n]) + "\n"
	}
	if !strings.Contains(told, "READY=1\n") {
		t.Errorf("systemd was told %q, want READY=1 too", told)
	}
}

type lacks struct{ path, want, body string }

func (l *lacks) Error() string { return l.path + " lacks " + l.want + ":\n" + l.body }
