// Package sidecartest runs the command of a sidecar within a test, reads what it
// serves by HTTP, and listens as a service manager would.
package sidecartest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/natstest"
)

// Command is a sidecar's run function.
type Command func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// patience is for a machine with much else to do.
const patience = time.Minute

// Start runs a sidecar as the test's environment configures it until the test ends.
// Each line of its log goes to heard, if not nil.
func Start(t *testing.T, run Command, heard func(line []byte)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	out, in := io.Pipe()
	done, read := make(chan error, 1), make(chan struct{})
	go func() { done <- run(ctx, nil, in, io.Discard); _ = in.Close() }()
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if heard != nil {
				heard(lines.Bytes())
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error("the sidecar ended with: ", err)
		}
		<-read
		http.DefaultClient.CloseIdleConnections()
	})
}

// Listening is Start with HTTP on a free port; it returns where, once the log says so.
func Listening(t *testing.T, run Command) (url string) {
	t.Helper()
	t.Setenv("PGRESYNC_HTTP_LISTEN", "127.0.0.1:0")
	address := make(chan string, 1)
	Start(t, run, func(text []byte) {
		var line struct{ Message, Address string }
		if json.Unmarshal(text, &line) == nil && line.Message == "http" {
			address <- line.Address
		}
	})
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a := <-address:
		return "http://" + a
	case <-late.C:
		t.Fatal("it never listened")
	}
	return ""
}

// Shows waits until every path answers 200 with all that is wanted of it.
func Shows(t *testing.T, url string, wanted map[string][]string) {
	t.Helper()
	for path, want := range wanted {
		natstest.Eventually(t, patience, path, func() error {
			status, body, err := fetch(t.Context(), url+path)
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("%s: %d, %w", path, status, err)
			}
			for _, w := range want {
				if !strings.Contains(body, w) {
					return fmt.Errorf("%s lacks %s:\n%s", path, w, body)
				}
			}
			return nil
		})
	}
}

func fetch(ctx context.Context, url string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	return reply.StatusCode, string(b), err
}

// Manager is a service manager that listens (sd_notify(3)).
type Manager struct {
	t    *testing.T
	conn *net.UnixConn
	told string
}

// NewManager sets NOTIFY_SOCKET for what the test starts in this process.
func NewManager(t *testing.T) *Manager {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", socket)
	return ListenAt(t, socket)
}

// ListenAt is for a sidecar that the test starts as a program.
func ListenAt(t *testing.T, socket string) *Manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Manager{t: t, conn: conn}
}

// Hears waits until it has been told this line.
func (m *Manager) Hears(line string) {
	m.t.Helper()
	buf := make([]byte, 1024)
	for !strings.Contains("\n"+m.told, "\n"+line+"\n") {
		if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			m.t.Fatal(err)
		}
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("the service manager was told %q, want %q: %v", m.told, line, err)
		}
		m.told += string(buf[:n]) + "\n"
	}
}
