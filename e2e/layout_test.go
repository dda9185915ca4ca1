package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestWhetherTheWALTravels: a WAL dataset of its own is left out unless
// PGRESYNC_SEND_WAL says always; WAL inside the data directory comes along. A
// standby made from any of them streams, and takes an increment. What is left out
// by default is TestPromises' business.
func TestWhetherTheWALTravels(t *testing.T) {
	bin, out := requireLab(t)
	for _, c := range []struct {
		name   string
		inside bool
		env    map[string]string
		// lineage is where the WAL is received.
		lineage string
	}{
		{"a dataset of its own, always", false, map[string]string{"PGRESYNC_SEND_WAL": "always"}, "/data/wal"},
		{"inside the data directory", true, nil, "/data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// PostgreSQL's user has to get through to its log.
			out := filepath.Join(out, strings.ReplaceAll(c.name, " ", "-"))
			must(t, os.MkdirAll(out, 0o755))
			w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2"}, Bin: bin, Out: out, Tail: tail})
			must(t, err)
			t.Cleanup(func() {
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			})
			s := &stage{w: w, db1: w.Node("db1"), db2: w.Node("db2"), secondary: map[*world.Node]*world.Process{}}
			if c.inside {
				must(t, s.db1.InitPrimaryWithWALInside(t.Context()))
			} else {
				must(t, s.db1.InitPrimary(t.Context()))
			}
			must(t, s.db1.Fill(t.Context(), scale, 4<<20))
			s.startPrimary(t, c.env)
			s.sidecar(t, s.db2, world.Secondary, nil)
			s.until(t, s.db2, 0, patience, "proof", proven)
			must(t, s.db1.AddDocuments(t.Context(), 2, 1<<20))
			s.snapshot(t)
			m := s.trigger(t, s.db2, "")
			s.until(t, s.db2, m, patience, "proof", proven)
			bytesOf(t, s.db2, m, "increment", "none")
			must(t, s.w.Streaming(t.Context(), patience, s.db1, s.db2))
			_, err = s.w.SameRows(t.Context(), patience, nil, s.db1, s.db2)
			must(t, err)
			receivedWAL(t, s.db2, c.lineage)
			standbyHasItsOwnWAL(t, s.db2, !c.inside)
		})
	}
}

// receivedWAL looks for a segment of WAL in what was received, by way of a clone:
// the lineage itself is never mounted.
func receivedWAL(t testing.TB, n *world.Node, dataset string) {
	t.Helper()
	root := n.Pool() + "/pgresync/main"
	for name := range strings.SplitSeq(run(t, n, "zfs", "list", "-H", "-r", "-o", "name", root), "\n") {
		rel := strings.TrimPrefix(name, root)
		if rel == "" {
			continue
		}
		snapshots := strings.Fields(run(t, n, "zfs", "list", "-H", "-d", "1", "-t", "snapshot", "-o", "name", "-S", "createtxg", name))
		if len(snapshots) == 0 {
			t.Errorf("%s has no snapshot", name)
			continue
		}
		clone := n.Pool() + "/look"
		run(t, n, "zfs", "clone", "-o", "mountpoint=/srv/look", snapshots[0], clone)
		segments, err := strconv.Atoi(run(t, n, "bash", "-c", `find /srv/look -regextype posix-extended -regex '.*/[0-9A-F]{24}' | wc -l`))
		must(t, err)
		run(t, n, "zfs", "destroy", clone)
		if got, want := segments > 0, rel == dataset; got != want {
			t.Errorf("%s holds %d segments of WAL, want some only in %q", name, segments, dataset)
		}
	}
}

// standbyHasItsOwnWAL: where the primary has a dataset for it, so has the standby.
func standbyHasItsOwnWAL(t testing.TB, n *world.Node, want bool) {
	t.Helper()
	live := "\n" + run(t, n, "zfs", "list", "-H", "-r", "-o", "name", n.Live()) + "\n"
	if got := strings.Contains(live, "\n"+n.Live()+"/wal\n"); got != want {
		t.Errorf("the standby has a WAL dataset: %t, want %t:%s", got, want, live)
	}
	if got := sql(t, n, "select pg_is_in_recovery()"); got != "t" {
		t.Errorf("in recovery: got %s, want t", got)
	}
}
