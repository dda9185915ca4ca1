package privileged

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// relay hands on to systemd what the unprivileged part has to say about the service.
// With NotifyAccess=main systemd listens to the main process only, and to let it
// listen to all of the unit would let PostgreSQL name another main process.
type relay struct {
	path string // "" without a service manager
	conn *net.UnixConn
	done sync.WaitGroup
}

// passedOn are the states that are (sd_notify(3)).
var passedOn = []string{"READY", "STOPPING", "STATUS", "WATCHDOG"}

func newRelay(ctx context.Context, to string, uid, gid int) (*relay, error) {
	r := &relay{}
	if to == "" {
		return r, nil
	}
	dir, err := os.MkdirTemp("", "pgresync-notify-")
	if err != nil {
		return nil, fmt.Errorf("relay to the service manager: %w", err)
	}
	r.path = filepath.Join(dir, "socket")
	r.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.path, Net: "unixgram"})
	if err == nil {
		err = errors.Join(os.Chown(r.path, uid, gid), os.Chmod(r.path, 0o600), os.Chmod(dir, 0o711)) //nolint:gosec // to be passed through
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("relay to the service manager: %w", err)
	}
	r.done.Go(func() { r.run(context.WithoutCancel(ctx), to) }) // until Close
	return r, nil
}

func (r *relay) run(ctx context.Context, to string) {
	b := make([]byte, 4096)
	for {
		n, _, err := r.conn.ReadFromUnix(b)
		if err != nil {
			return // closed
		}
		if string(b[:n]) == lastWord {
			return
		}
		if text := filtered(string(b[:n])); text != "" {
			_ = tell(ctx, to, text) // a service manager that does not listen is no reason to stop
		}
	}
}

func filtered(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if key, _, ok := strings.Cut(line, "="); ok && slices.Contains(passedOn, key) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// tell does not wait for long for who does not read.
func tell(ctx context.Context, to, text string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", to)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // a datagram has been sent or not
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(text))
	return err
}

// lastWord comes behind all that the unprivileged part has said.
const lastWord = "END"

// Close takes the socket away when all that was said has been passed on.
func (r *relay) Close() {
	if r.conn != nil {
		// A conn of this kind can write to itself; who cannot is not waited for.
		err := r.conn.SetWriteDeadline(time.Now().Add(time.Second))
		if err == nil {
			_, err = r.conn.WriteTo([]byte(lastWord), r.conn.LocalAddr())
		}
		if err == nil {
			r.done.Wait()
		}
		_ = r.conn.Close() // ends run
	}
	r.done.Wait()
	if r.path != "" {
		_ = os.RemoveAll(filepath.Dir(r.path)) // what is left is empty
	}
}
