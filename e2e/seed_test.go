package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

func (s *stage) seedsTwoFromOneUpload(t part) {
	s.ready(t)
	s.wellWithin(t)
	full := map[string]int{}
	for _, l := range s.db1.Logged(world.Primary, 0, "zfs send starts") {
		dataset, _, _ := strings.Cut(l.Str("target"), "@")
		if l.Str("base") == "" {
			full[dataset]++
		}
	}
	// The WAL's dataset does not travel: standbys stream what is in it.
	if got, want := fmt.Sprint(full), "map[tank1/pg:1 tank1/pg/ts1:1]"; got != want {
		t.Errorf("full sends of the primary: got %s, want %s: one for both standbys, none of the WAL", got, want)
	}
	for _, n := range []*world.Node{s.db2, s.db3} {
		got := passes(n, 0)
		if len(got) == 0 || got[0].Str("kind") != "seed" {
			t.Errorf("first pass of %s: got %v, want a seed", n.Name, got)
		}
		for _, p := range got {
			t.Logf("%s: %s of %.0f bytes in %.0f ms", n.Name, p.Str("kind"), p.Num("bytes"), p.Num("took_ms"))
		}
	}
}

// layoutIsRebuilt: children of the live dataset come along, each to its place on
// the node, and the links in the data directory lead there.
func (s *stage) layoutIsRebuilt(t part) {
	s.ready(t)
	for _, c := range []struct {
		node                     *world.Node
		mounts, wal, tablespaces string
	}{
		{s.db2, "/srv/pg /srv/ts1 /srv/pgwal", "/srv/pgwal/wal", "/srv/ts1/space"},
		{s.db3, "/data/pg /data/ts1 /data/wal", "/data/wal/wal", "/data/ts1/space"},
	} {
		n := c.node
		got := run(t, n, "zfs", "get", "-H", "-o", "value", "mountpoint", n.Live(), n.Live()+"/ts1", n.Live()+"/wal")
		if got = strings.ReplaceAll(got, "\n", " "); got != c.mounts {
			t.Errorf("%s: mount points: got %q, want %q", n.Name, got, c.mounts)
		}
		dir := sql(t, n, "show data_directory")
		if got := run(t, n, "readlink", dir+"/pg_wal"); got != c.wal {
			t.Errorf("%s: pg_wal leads to %q, want %q", n.Name, got, c.wal)
		}
		if got := sql(t, n, "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'ts1'"); got != c.tablespaces {
			t.Errorf("%s: tablespace ts1 is at %q, want %q", n.Name, got, c.tablespaces)
		}
		s.lineageIsPristine(t, n)
	}
}

// lineageIsPristine: received datasets are never mounted, never written to, and
// their snapshots are the primary's own.
func (s *stage) lineageIsPristine(t testing.TB, n *world.Node) {
	t.Helper()
	root := n.Pool() + "/pgresync/" + world.Cluster
	for line := range strings.SplitSeq(run(t, n, "zfs", "get", "-H", "-r", "-t", "filesystem", "-o", "name,property,value", "mounted,readonly,written", root), "\n") {
		switch f := strings.Split(line, "\t"); f[1] + "=" + f[2] {
		case "mounted=no", "readonly=on", "written=0":
		default:
			if f[0] != root && f[1] == "written" || f[1] != "written" {
				t.Errorf("%s: lineage %s: %s is %s", n.Name, f[0], f[1], f[2])
			}
		}
		if strings.Contains(line, "/wal\t") {
			t.Errorf("%s: the WAL travelled: %s", n.Name, line)
		}
	}
	known := run(t, s.db1, "zfs", "list", "-H", "-r", "-t", "snapshot,bookmark", "-o", "guid", s.db1.Live())
	for guid := range strings.SplitSeq(run(t, n, "zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "guid", root), "\n") {
		if !strings.Contains("\n"+known+"\n", "\n"+guid+"\n") {
			t.Errorf("%s: snapshot %s of the lineage is none of the primary's", n.Name, guid)
		}
	}
}

func run(t testing.TB, n *world.Node, argv ...string) string {
	t.Helper()
	out, err := n.Run(t.Context(), argv...)
	must(t, err)
	return out
}

func sql(t testing.TB, n *world.Node, query string) string {
	t.Helper()
	out, err := n.SQL(t.Context(), query)
	must(t, err)
	return out
}
