package e2e

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestFastForward: a standby that streams, and whose replay is too slow to be there
// soon, is replaced by a copy that is, where its operator wants that.
func TestFastForward(t *testing.T) {
	s := newPair(t, world.Options{})
	must(t, s.db1.InitPrimary(t.Context()))
	must(t, s.db1.Fill(t.Context(), scale, 4<<20))
	s.startPrimary(t, nil)
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, map[string]string{
		"PGRESYNC_FAST_FORWARD": "when-slower", "PGRESYNC_FAST_FORWARD_LEAST": "1m",
	})
	s.until(t, s.db2, 0, patience, "proof", proven)
	s.idle(t, s.db2, patience)
	m := mark(s.db2)

	quickAgain := s.slowReplay(t, s.db2)
	defer quickAgain()
	must(t, s.db1.AddDocuments(t.Context(), 2, 48<<20))
	v := s.until(t, s.db2, m, 2*patience, "a verdict", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("verdict") == "resync"
	})
	t.Logf("%s: %s", v.Str("reason"), v.Str("evidence"))
	if v.Str("reason") != "lagging" {
		t.Errorf("reason %s, want lagging", v.Str("reason"))
	}
	s.until(t, s.db2, m, patience, "the switch", entered("switching"))
	s.until(t, s.db2, m, patience, "proof", proven)
	bytesOf(t, s.db2, m, "increment", "none")
	s.sameRows(t)
}

// slowReplay lets the node's server replay for moments only, until the returned
// function is called or that server is gone.
func (s *stage) slowReplay(t testing.TB, n *world.Node) (quickAgain func()) {
	t.Helper()
	pid, err := strconv.Atoi(sql(t, n, "select pid from pg_stat_activity where backend_type = 'startup'"))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			wait(ctx, 3*time.Second)
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
			wait(ctx, 20*time.Millisecond)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func wait(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
