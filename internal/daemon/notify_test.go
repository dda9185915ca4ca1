package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// systemd listens as the service manager would.
func systemd(t *testing.T) (socket string, next func() string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return socket, func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func env(pairs map[string]string) func(string) string {
	return func(key string) string { return pairs[key] }
}

func TestNotifierSpeaksToSystemd(t *testing.T) {
	socket, next := systemd(t)
	n := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": socket}), 1)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range []error{n.Ready(t.Context()), n.Status(t.Context(), "two\nlines"), n.Stopping(cancelled)} {
		if err != nil {
			t.Error(err)
		}
	}
	got := []string{next(), next(), next()}
	if diff := cmp.Diff([]string{"READY=1", "STATUS=two lines", "STOPPING=1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWatchdogIsPettedWhileAlive(t *testing.T) {
	socket, next := systemd(t)
	n := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": "42"}), 42)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	done := make(chan error, 1)
	go func() {
		done <- n.Watchdog(ctx, func() bool {
			asked++
			if asked == 4 {
				cancel()
			}
			return asked != 2 // once it hangs
		})
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := []string{next(), next()}; got[0] != "WATCHDOG=1" || got[1] != "WATCHDOG=1" {
		t.Errorf("got %q", got)
	}
}

func TestNotifierIsSilentOutsideSystemd(t *testing.T) {
	n := NewNotifier(env(nil), 1)
	for _, err := range []error{n.Ready(t.Context()), n.Stopping(t.Context()), n.Watchdog(t.Context(), nil)} {
		if err != nil {
			t.Error(err)
		}
	}
	other := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "42"}), 1)
	if err := other.Watchdog(t.Context(), nil); err != nil {
		t.Errorf("a watchdog for another process: %v", err)
	}
	if err := other.Ready(t.Context()); err == nil {
		t.Error("a socket that is not there: want an error")
	}
}

// The kernel keeps some messages for who does not read, and then lets the sender wait.
func TestNobodyWaitsForAManagerThatDoesNotRead(t *testing.T) {
	t.Parallel() // it takes one of the clock's seconds
	socket, _ := systemd(t)
	n := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": socket}), 1)
	done := make(chan error, 1)
	go func() {
		for {
			if err := n.Status(t.Context(), "idle"); err != nil {
				done <- err
				return
			}
		}
	}()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-late.C:
		t.Fatal("it waits for ever")
	}
}

func TestStatusIsToldWhenItChanged(t *testing.T) {
	t.Parallel() // it takes some of the clock's seconds
	socket, next := systemd(t)
	n := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": socket}), 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	texts := []string{"idle: healthy", "idle: healthy", "resync 1: receiving"}
	asked := 0
	done := make(chan error, 1)
	go func() {
		done <- TellStatus(ctx, n, func() string {
			asked++
			if asked > len(texts) {
				cancel()
			}
			return texts[min(asked, len(texts))-1]
		})
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	got := []string{next(), next()} // the second is not repeated
	if diff := cmp.Diff([]string{"STATUS=idle: healthy", "STATUS=resync 1: receiving"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusIsNoBusinessOutsideSystemd(t *testing.T) {
	if err := TellStatus(t.Context(), NewNotifier(env(nil), 1), nil); err != nil {
		t.Error(err)
	}
}
