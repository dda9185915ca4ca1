package e2e

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// plantForeign makes what is none of pgresync's business.
func (s *stage) plantForeign(t testing.TB) {
	t.Helper()
	s.foreign = map[*world.Node]string{}
	for _, n := range []*world.Node{s.db1, s.db2, s.db3} {
		must(t, n.PlantForeign(t.Context()))
		s.foreign[n] = s.foreigners(t, n)
	}
}

func (s *stage) foreigners(t testing.TB, n *world.Node) string {
	t.Helper()
	out, err := n.Foreigners(t.Context(), n != s.db1)
	must(t, err)
	return out
}

func (s *stage) foreignIsUntouched(t part) {
	s.ready(t)
	for _, n := range []*world.Node{s.db1, s.db2, s.db3} {
		if got := s.foreigners(t, n); got != s.foreign[n] {
			t.Errorf("%s: got\n%s\nwant\n%s", n.Name, got, s.foreign[n])
		}
	}
}

// foreignSnapshotOfTheLiveCopySurvives: a periodic snapshot tool also visits the
// standby. Its snapshot keeps the copy that it is of from being destroyed, and must
// not keep later resyncs from their work.
func (s *stage) foreignSnapshotOfTheLiveCopySurvives(t part) {
	s.ready(t)
	name := s.db2.Live() + "@autosnap_hourly"
	run(t, s.db2, "zfs", "snapshot", "-r", name)
	guid := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", name)
	for range 2 {
		m := s.trigger(t, s.db2, "")
		s.until(t, s.db2, m, patience, "proof", proven)
		s.wellWithin(t)
	}
	all := run(t, s.db2, "zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "guid", s.db2.Pool())
	if !strings.Contains("\n"+all+"\n", "\n"+guid+"\n") {
		t.Errorf("snapshot %s (guid %s) is gone", name, guid)
	}
}
