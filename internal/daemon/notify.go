package daemon

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Notifier tells systemd about the state of the service (sd_notify(3), a unit of
// Type=notify). Outside systemd every method does nothing and returns nil. Safe
// for concurrent use.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// NewNotifier reads NOTIFY_SOCKET and WATCHDOG_USEC (sd_watchdog_enabled(3));
// WATCHDOG_PID, when set, must be pid.
func NewNotifier(getenv func(string) string, pid int) *Notifier {
	n := &Notifier{socket: getenv("NOTIFY_SOCKET")}
	if p := getenv("WATCHDOG_PID"); p != "" && p != strconv.Itoa(pid) {
		return n
	}
	if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Ready says that the start succeeded: a `systemctl start` returns, and units that
// are ordered after this one begin.
func (n *Notifier) Ready(ctx context.Context) error { return n.send(ctx, "READY=1") }

// Stopping says that shut-down began.
func (n *Notifier) Stopping(ctx context.Context) error {
	return n.send(context.WithoutCancel(ctx), "STOPPING=1")
}

// Status shows one line in `systemctl status`.
func (n *Notifier) Status(ctx context.Context, text string) error {
	return n.send(ctx, "STATUS="+strings.ReplaceAll(text, "\n", " "))
}

// TellStatus shows what brief says for as long as ctx lasts, whenever it changed.
func TellStatus(ctx context.Context, n *Notifier, brief func() string) error {
	if n.socket == "" {
		return nil
	}
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	told := ""
	for {
		// Who does not listen now may listen later.
		if text := brief(); text != told && n.Status(ctx, text) == nil {
			told = text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusEvery is how often the status line may change.
const statusEvery = time.Second

// Watchdog pets systemd's watchdog twice per period for as long as alive says so,
// until ctx is cancelled; then it returns nil. Without a watchdog it returns nil at
// once. That nobody listens is no reason to stop: who does not listen does not wait
// for it either.
func (n *Notifier) Watchdog(ctx context.Context, alive func() bool) error {
	if n.socket == "" || n.watchdog == 0 {
		return nil
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		if alive() {
			_ = n.send(ctx, "WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sendTime is for a service manager that is there and does not read: it may be
// restarting itself, and a stop is not to wait for that.
const sendTime = time.Second

func (n *Notifier) send(ctx context.Context, state string) error {
	if n.socket == "" {
		return nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", n.socket) // Go reads a leading @ as the abstract namespace
	if err != nil {
		return fmt.Errorf("notify systemd on %s: %w", n.socket, err)
	}
	if err = conn.SetWriteDeadline(time.Now().Add(sendTime)); err == nil {
		_, err = conn.Write([]byte(state))
	}
	if cerr := conn.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("notify systemd on %s: %w", n.socket, err)
	}
	return nil
}
