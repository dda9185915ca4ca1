package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

// patience is for one resync on a slow, busy machine.
const patience = 8 * time.Minute

// trigger publishes with the stock command and returns the place in the log from
// which on the consequences are found.
func (s *stage) trigger(t testing.TB, n *world.Node, body string) int {
	t.Helper()
	m := mark(n)
	_, err := s.w.NATS(t.Context(), "pub", "pgresync.main.trigger.resync."+n.Name, body)
	must(t, err)
	return m
}

// snapshot asks for one with the stock command and waits for it. Without one, a
// resync is content with what the standby has, as long as its WAL is there.
func (s *stage) snapshot(t testing.TB) {
	t.Helper()
	before := len(s.db1.Logged(world.Primary, 0, "snapshot ready"))
	_, err := s.w.NATS(t.Context(), "pub", "pgresync.main.trigger.snapshot", "")
	must(t, err)
	must(t, world.Until(t.Context(), "a snapshot", patience, func(context.Context) (bool, string) {
		return len(s.db1.Logged(world.Primary, 0, "snapshot ready")) > before, ""
	}))
}

// bytesOf sums up the passes since mark and fails when one is of another kind.
func bytesOf(t testing.TB, n *world.Node, mark int, kinds ...string) float64 {
	t.Helper()
	var sum float64
	got := passes(n, mark)
	if len(got) == 0 {
		t.Errorf("%s made no pass", n.Name)
	}
	for _, p := range got {
		sum += p.Num("bytes")
		t.Logf("%s: %s of %.0f bytes in %.0f ms", n.Name, p.Str("kind"), p.Num("bytes"), p.Num("took_ms"))
		if !strings.Contains(strings.Join(kinds, " "), p.Str("kind")) {
			t.Errorf("%s: a pass was a %s, want %v", n.Name, p.Str("kind"), kinds)
		}
	}
	return sum
}

func seedBytes(t testing.TB, n *world.Node) float64 {
	t.Helper()
	for _, p := range passes(n, 0) {
		if p.Str("kind") == "seed" {
			return p.Num("bytes")
		}
	}
	t.Fatalf("%s was never seeded", n.Name)
	return 0
}

func (s *stage) triggerMovesAnIncrement(t part) {
	s.ready(t)
	s.follow(t)
	must(t, s.db1.AddDocuments(t.Context(), 2, 1<<20))
	p := poll(t, s.db2)
	s.snapshot(t)
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	stopping := s.until(t, s.db2, m, time.Second, "stop", entered("stopping"))
	proving := s.until(t, s.db2, m, time.Second, "proof", entered("proving"))
	down := p.onlyTheSwitchFailed(t, stopping, proving)
	t.Logf("%d reads, %d failed; the standby was down for %s", p.reads, len(p.failures), down)
	if got, seed := bytesOf(t, s.db2, m, "increment", "none"), seedBytes(t, s.db2); got == 0 || got > seed/2 {
		t.Errorf("the increments moved %.0f bytes, the seed had moved %.0f: want something, and far less", got, seed)
	}
	s.wellWithin(t)
}

func (s *stage) lostSlotIsNoticed(t part) {
	s.ready(t)
	m := mark(s.db2)
	must(t, s.db2.Unplug(t.Context()))
	must(t, s.db1.LoseSlot(t.Context(), s.db2))
	must(t, s.db2.Plug(t.Context()))
	v := s.until(t, s.db2, m, patience, "a verdict", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("verdict") == "resync"
	})
	if r := v.Str("reason"); r != "slot-lost" && r != "wal-gone" {
		t.Errorf("reason: got %q (%s), want slot-lost or wal-gone", r, v.Str("evidence"))
	}
	s.until(t, s.db2, m, patience, "proof", proven)
	bytesOf(t, s.db2, m, "increment", "none")
	s.wellWithin(t)
}

func (s *stage) divergedDataIsKept(t part) {
	s.ready(t)
	m := mark(s.db3)
	sql(t, s.db3, "select pg_promote()")
	must(t, world.Until(t.Context(), "the promotion of db3", patience, func(ctx context.Context) (bool, string) {
		got, err := s.db3.SQL(ctx, "select pg_is_in_recovery()")
		return err == nil && got == "f", fmt.Sprint(got, err)
	}))
	sql(t, s.db3, "create table only_here as select 42 as answer")
	s.until(t, s.db3, m, patience, "the verdict that somebody must decide", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("reason") == "promoted"
	})
	if p := phase(s.db3); p != "idle" {
		t.Errorf("nobody asked for it, and yet db3 is %s", p)
	}
	guid := run(t, s.db3, "zfs", "get", "-H", "-o", "value", "guid", s.db3.Live())
	s.trigger(t, s.db3, `{"by":"e2e","reason":"promoted by mistake"}`)
	s.until(t, s.db3, m, patience, "proof", proven)
	bytesOf(t, s.db3, m, "increment", "none")
	s.wellWithin(t)
	must(t, world.Until(t.Context(), "the diverged data to be set aside", patience, func(ctx context.Context) (bool, string) {
		got, err := s.db3.Run(ctx, "zfs", "list", "-H", "-d", "1", "-o", "name,guid,mounted,pgresync:diverged", s.db3.Pool())
		for line := range strings.SplitSeq(got, "\n") {
			f := strings.Split(line, "\t")
			if len(f) == 4 && f[1] == guid && strings.HasPrefix(f[0], s.db3.Live()+".pgresync-diverged-") && f[3] != "-" {
				return true, ""
			}
		}
		return false, fmt.Sprint(got, err)
	}))
}

// revertsWhenPostgreSQLRefuses: the new copy does not start, so the old one serves
// again.
func (s *stage) revertsWhenPostgreSQLRefuses(t part) {
	s.ready(t)
	guid := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", s.db2.Live())
	must(t, s.secondary[s.db2].Stop())
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, map[string]string{
		"PGRESYNC_POSTGRES_SETTINGS": "shared_preload_libraries=there_is_no_such_library",
	})
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "the way back", entered("reverting"))
	must(t, world.Until(t.Context(), "db2 to be at rest", patience, func(context.Context) (bool, string) {
		p := phase(s.db2)
		return p == "waiting" || p == "needs-operator" || p == "idle", p
	}))
	must(t, s.w.Streaming(t.Context(), patience, s.db1, s.db2))
	if got := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", s.db2.Live()); got != guid {
		t.Errorf("live dataset: got guid %s, want %s, the one before", got, guid)
	}
	must(t, s.secondary[s.db2].Stop())
	s.ready(t)
	s.wellWithin(t)
}

func (s *stage) triggerWhileDownIsObeyed(t part) {
	s.ready(t)
	must(t, s.secondary[s.db3].Stop())
	m := s.trigger(t, s.db3, "")
	s.secondary[s.db3] = s.sidecar(t, s.db3, world.Secondary, s.env(s.db3))
	s.until(t, s.db3, m, patience, "proof", proven)
	s.wellWithin(t)
}

// wrongClusterIsRefused: what lies at the live dataset belongs to somebody else.
func (s *stage) wrongClusterIsRefused(t part) {
	s.ready(t)
	n := s.w.Node("db4")
	run(t, n, "zfs", "create", "-o", "mountpoint=/srv/pg", n.Live())
	run(t, n, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", world.DataDir)
	must(t, n.InitCluster(t.Context()))
	must(t, n.StartServer(t.Context()))
	id := sql(t, n, "select system_identifier from pg_control_system()")
	before := run(t, n, "zfs", "list", "-H", "-r", "-t", "all", "-o", "name,guid,mounted", n.Live())
	p := s.sidecar(t, n, world.Secondary, nil)
	s.until(t, n, 0, patience, "a verdict", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("verdict") == "needs-operator"
	})
	m := s.trigger(t, n, "")
	s.until(t, n, m, patience, "the call for an operator", entered("needs-operator"))
	must(t, p.Stop())
	if got := passes(n, 0); len(got) != 0 {
		t.Errorf("data moved: %v", got)
	}
	if got := run(t, n, "zfs", "list", "-H", "-r", "-t", "all", "-o", "name,guid,mounted", n.Live()); got != before {
		t.Errorf("datasets: got\n%s\nwant\n%s", got, before)
	}
	if got := sql(t, n, "select system_identifier from pg_control_system()"); got != id {
		t.Errorf("system identifier: got %s, want %s", got, id)
	}
	must(t, n.StopServer(t.Context()))
}
