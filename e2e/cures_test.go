package e2e

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestCures: a standby whose data is damaged is made anew from its last pass, and
// nothing travels; one that was a primary of its own for a while, on the very same
// timeline, is found by its log, replaced by an increment, and kept.
func TestCures(t *testing.T) {
	failures := sayAgain(t)
	s := newPair(t, world.Options{})
	must(t, s.db1.InitPrimary(t.Context()))
	must(t, s.db1.Fill(t.Context(), scale, 4<<20))
	s.startPrimary(t, nil)
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, nil)
	s.until(t, s.db2, 0, patience, "proof", proven)
	for _, p := range []step{
		{"damaged data is replaced without a transfer", s.damagedIsReplacedWithoutATransfer},
		{"another log on the same timeline is found", s.anotherLogIsFound},
	} {
		failures.run(t, p)
	}
}

func (s *stage) damagedIsReplacedWithoutATransfer(t part) {
	m := s.rest(t)
	must(t, s.db2.Crash(t.Context()))
	run(t, s.db2, "rm", "-r", world.DataDir+"/pg_replslot")
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, nil)
	s.until(t, s.db2, m, patience, "the way without a transfer", func(l world.Line) bool {
		return l.Message == "the last pass will do: nothing has to move"
	})
	s.until(t, s.db2, m, patience, "proof", proven)
	if moved := bytesOf(t, s.db2, m, "none"); moved != 0 {
		t.Errorf("%.0f bytes moved", moved)
	}
	s.sameRows(t)
}

func (s *stage) anotherLogIsFound(t part) {
	m := s.rest(t)
	must(t, s.db2.StopServer(t.Context()))
	run(t, s.db2, "rm", world.DataDir+"/standby.signal")
	must(t, s.db2.StartServer(t.Context()))
	sql(t, s.db2, "create table only_here as select 42 as answer")
	must(t, s.db2.StopServer(t.Context()))
	run(t, s.db2, "install", "-o", "postgres", "-g", "postgres", "-m", "0600", "/dev/null", world.DataDir+"/standby.signal")
	must(t, s.db1.AddDocuments(t.Context(), 3, 1<<20))
	must(t, s.db2.StartServer(t.Context()))
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, nil)
	v := s.until(t, s.db2, m, patience, "a verdict", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("verdict") == "resync"
	})
	if v.Str("reason") != "diverged" {
		t.Errorf("reason %s (%s), want diverged", v.Str("reason"), v.Str("evidence"))
	}
	s.until(t, s.db2, m, patience, "proof", proven)
	bytesOf(t, s.db2, m, "increment", "none")
	s.sameRows(t)
	if got := sql(t, s.db2, "select to_regclass('only_here') is null"); got != "t" {
		t.Error("what only this node had is still in its database")
	}
	s.idle(t, s.db2, patience)
	if got := run(t, s.db2, "zfs", "list", "-H", "-r", "-o", "name", s.db2.Pool()); !strings.Contains(got, s.db2.Live()+".pgresync-") {
		t.Errorf("the diverged copy is not kept:\n%s", got)
	}
}

// rest ends the standby's sidecar between two resyncs.
func (s *stage) rest(t part) (mark int) {
	t.Helper()
	s.idle(t, s.db2, patience)
	must(t, s.secondary[s.db2].Stop())
	return len(s.db2.Log(world.Secondary))
}
