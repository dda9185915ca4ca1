package e2e

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// plantForeign makes what a periodic snapshot tool and other tenants of the pools
// would have there.
func (s *stage) plantForeign(t testing.TB) {
	t.Helper()
	for _, n := range []*world.Node{s.db1, s.db2, s.db3} {
		run(t, n, "zfs", "create", "-o", "mountpoint=none", n.Pool()+"/tenant")
		run(t, n, "zfs", "create", "-o", "mountpoint=none", n.Pool()+"/pg-other")
		run(t, n, "zfs", "snapshot", "-r", n.Pool()+"@autosnap_daily")
		run(t, n, "zfs", "bookmark", n.Pool()+"/tenant@autosnap_daily", n.Pool()+"/tenant#autosnap_daily")
	}
	s.foreign = map[*world.Node]string{}
	for _, n := range []*world.Node{s.db1, s.db2, s.db3} {
		s.foreign[n] = s.foreigners(t, n)
	}
}

// foreigners lists, with their GUIDs, the datasets, snapshots and bookmarks that
// are none of pgresync's making. A standby's live dataset is.
func (s *stage) foreigners(t testing.TB, n *world.Node) string {
	t.Helper()
	var out []string
	for line := range strings.SplitSeq(run(t, n, "zfs", "list", "-H", "-r", "-t", "all", "-o", "name,guid", n.Pool()), "\n") {
		name, _, _ := strings.Cut(line, "\t")
		standby := n != s.db1 && (name == n.Live() || strings.HasPrefix(name, n.Live()+"/"))
		if !strings.Contains(name, "pgresync") && !standby {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
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
		s.wellWithin(t, patience)
	}
	all := run(t, s.db2, "zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "guid", s.db2.Pool())
	if !strings.Contains("\n"+all+"\n", "\n"+guid+"\n") {
		t.Errorf("snapshot %s (guid %s) is gone", name, guid)
	}
}
