package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

// failover is a world whose nodes each run both sidecars, with a broker of its own.
type failover struct {
	*stage
	publisher map[*world.Node]*world.Process
	now       *world.Node // the primary
	seed      float64
	load      *world.Process
}

// TestFailover hands the primary's role to and fro five times under load. The node
// that loses it comes back by an increment each time, and nothing piles up.
func TestFailover(t *testing.T) {
	failures := sayAgain(t)
	f := newFailover(t)
	for i, r := range []struct {
		name     string
		to       *world.Node
		crash    bool
		rejoin   string
		attended bool
	}{
		{"a deposed primary that still writes is reported, left alone, and comes back by trigger", f.db2, false, "trigger", true},
		{"a crashed primary comes back by itself, the other standby follows", f.db1, true, "auto", false},
		{"a deposed primary that still writes comes back by itself where the policy says so", f.db2, false, "auto", false},
		{"and back", f.db1, true, "auto", false},
		{"and forth", f.db2, true, "auto", false},
	} {
		if !failures.run(t, step{fmt.Sprintf("round %d: %s", i+1, r.name), func(t part) {
			f.policy(t, f.now, r.rejoin)
			f.round(t, r.to, r.crash, r.attended)
		}}) {
			t.FailNow() // the next round has nothing to stand on
		}
	}
	failures.run(t, step{"a standby that only followed still has its base", f.oldBaseServes})
}

func newFailover(t *testing.T) *failover {
	t.Helper()
	bin, out := requireLab(t)
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2", "db3"}, Bin: bin, Out: out, Separate: separate(), Tail: tail, Broker: true})
	must(t, err)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &failover{
		stage:     &stage{w: w, db1: w.Node("db1"), db2: w.Node("db2"), db3: w.Node("db3"), secondary: map[*world.Node]*world.Process{}, out: out},
		publisher: map[*world.Node]*world.Process{},
	}
	f.now = f.db1
	must(t, f.db1.InitPrimary(t.Context()))
	must(t, f.db1.Fill(t.Context(), scale, documents))
	for _, n := range w.Nodes() {
		f.publisher[n] = f.sidecar(t, n, world.Primary, map[string]string{"PGRESYNC_LOG_LEVEL": "info"})
	}
	f.publishes(t, f.db1, 0)
	f.loads(t)
	for _, n := range w.Nodes() {
		f.watch(t, n, "trigger")
	}
	f.well(t)
	f.seed = seedBytes(t, f.db2)
	return f
}

// watch starts the node's secondary sidecar.
func (f *failover) watch(t testing.TB, n *world.Node, rejoin string) {
	t.Helper()
	// Three more sidecars than elsewhere ask zfs for its state, and the machine is emulated.
	env := map[string]string{
		"PGRESYNC_REJOIN_PROMOTED": rejoin, "PGRESYNC_RESYNC_BUDGET": "100",
		"PGRESYNC_CHECK_INTERVAL": "10s", "PGRESYNC_PROVE_TIMEOUT": "300s", "PGRESYNC_LOG_LEVEL": "info",
	}
	maps.Copy(env, f.env(n))
	f.secondary[n] = f.sidecar(t, n, world.Secondary, env)
}

// policy restarts a node's secondary sidecar with another policy.
func (f *failover) policy(t testing.TB, n *world.Node, rejoin string) {
	t.Helper()
	must(t, f.secondary[n].Stop())
	m := mark(n)
	f.watch(t, n, rejoin)
	f.until(t, n, m, patience, "a verdict", func(l world.Line) bool { return l.Message == "verdict" })
}

func (f *failover) env(n *world.Node) map[string]string {
	if n != f.db3 {
		return nil
	}
	return world.OtherMounts()
}

// loads puts load on the primary; what ran before has ended with its server.
func (f *failover) loads(t testing.TB) {
	t.Helper()
	if f.load != nil {
		f.load.Kill9()
	}
	var err error
	f.load, err = f.now.StartLoad(t.Context(), 5)
	must(t, err)
}

// publishes waits until the node's primary sidecar says so after mark.
func (f *failover) publishes(t testing.TB, n *world.Node, mark int) {
	t.Helper()
	must(t, world.Until(t.Context(), n.Name+" to publish", patience, func(context.Context) (bool, string) {
		return len(n.Logged(world.Primary, mark, "publishes now")) > 0, f.publisher[n].String()
	}))
}

func (f *failover) others() []*world.Node {
	var out []*world.Node
	for _, n := range f.w.Nodes() {
		if n != f.now {
			out = append(out, n)
		}
	}
	return out
}

// well waits until the others stream from the primary and have its rows.
func (f *failover) well(t testing.TB) {
	t.Helper()
	must(t, f.w.Streaming(t.Context(), 2*patience, f.now, f.others()...))
	for _, n := range f.others() {
		f.idle(t, n, patience)
	}
	rows, err := f.w.SameRows(t.Context(), patience, f.load, f.now, f.others()...)
	must(t, err)
	t.Logf("same rows on all: %s", world.Counts(rows))
}

// round makes a primary of to while the present one goes on writing, or crashed.
func (f *failover) round(t part, to *world.Node, crash, attended bool) {
	t.Helper()
	old := f.now
	marks := map[*world.Node]int{}
	for _, n := range f.w.Nodes() {
		marks[n] = mark(n)
	}
	publisherMark, oldMark := len(to.Log(world.Primary)), len(old.Log(world.Primary))
	guid := run(t, old, "zfs", "get", "-H", "-o", "value", "guid", old.Live())
	if crash {
		must(t, old.Crash(t.Context()))
	}
	must(t, to.Promote(t.Context()))
	f.now = to
	f.publishes(t, to, publisherMark)
	if !crash {
		f.deposedSaysWhy(t, old, oldMark)
	}
	f.loads(t) // on the new one, from now on
	if attended {
		f.deposedIsLeftAlone(t, old, marks[old])
		f.trigger(t, old, "")
	}
	f.until(t, old, marks[old], patience, "proof", proven)
	f.well(t)
	moved := bytesOf(t, old, marks[old], "increment", "none")
	size := sql(t, f.now, "select sum(pg_database_size(oid)) from pg_database")
	t.Logf("%s came back by %.0f bytes, %.1f %% of a seed of %.0f; the databases have %s", old.Name, moved, 100*moved/f.seed, f.seed, size)
	if moved == 0 || moved > f.seed/2 {
		t.Errorf("%s: %.0f bytes moved, want some and far less than the seed's %.0f", old.Name, moved, f.seed)
	}
	f.thirdFollowed(t, old, marks)
	f.divergedIsKeptUntilItsOperatorLetsGo(t, old, guid)
	f.nothingPilesUp(t)
}

// deposedSaysWhy: of two that think they are the publisher only one publishes.
func (f *failover) deposedSaysWhy(t part, old *world.Node, mark int) {
	t.Helper()
	must(t, world.Until(t.Context(), old.Name+" to say why it does not publish", patience, func(context.Context) (bool, string) {
		for _, l := range old.Logged(world.Primary, mark, "off duty") {
			if strings.Contains(l.Str("error"), f.now.Name) {
				t.Logf("%s: %s", old.Name, l.Str("error"))
				return true, ""
			}
		}
		return false, ""
	}))
}

func (f *failover) deposedIsLeftAlone(t part, old *world.Node, mark int) {
	t.Helper()
	v := f.until(t, old, mark, patience, "the report of a deposed primary", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("verdict") == "needs-operator" && l.Str("reason") == "promoted"
	})
	t.Logf("%s: %s; %s", old.Name, v.Str("evidence"), v.Str("remedy"))
	sql(t, old, "create table only_on_the_deposed as select 42 as answer")
	if p := phase(old); p != "idle" {
		t.Errorf("nobody asked for it, and yet %s is %s", old.Name, p)
	}
}

// thirdFollowed: the standby that was not promoted needs no copy, or an increment
// if it had followed the deposed primary beyond the fork.
func (f *failover) thirdFollowed(t part, old *world.Node, marks map[*world.Node]int) {
	t.Helper()
	for _, n := range f.others() {
		if n == old {
			continue
		}
		got := passes(n, marks[n])
		t.Logf("%s made %d passes", n.Name, len(got))
		if len(got) > 0 {
			bytesOf(t, n, marks[n], "increment", "none")
		}
	}
}

func (f *failover) divergedIsKeptUntilItsOperatorLetsGo(t part, old *world.Node, guid string) {
	t.Helper()
	var kept []string
	must(t, world.Until(t.Context(), "the diverged data of "+old.Name, patience, func(ctx context.Context) (bool, string) {
		var err error
		kept, err = old.Aside(ctx, "diverged")
		return len(kept) == 1, fmt.Sprint(kept, err)
	}))
	if got := run(t, old, "zfs", "get", "-H", "-o", "value", "guid", kept[0]); got != guid {
		t.Errorf("%s is dataset %s, want %s, the live dataset of the deposed primary", kept[0], got, guid)
	}
	must(t, world.Until(t.Context(), "the operator to let go of "+kept[0], patience, func(ctx context.Context) (bool, string) {
		err := letGo(ctx, old)
		return err == nil, fmt.Sprint(err)
	}))
}

// letGo is the operator's word on diverged data: one command is all that it takes.
func letGo(ctx context.Context, n *world.Node) error {
	kept, err := n.Aside(ctx, "diverged")
	for _, d := range kept {
		if _, err := n.Run(ctx, "zfs", "destroy", "-r", d); err != nil {
			return err
		}
	}
	return err
}

// nothingPilesUp: a lineage has one branch of two datasets, and the versions that
// are kept are bounded.
func (f *failover) nothingPilesUp(t part) {
	t.Helper()
	for _, n := range f.w.Nodes() {
		must(t, world.Until(t.Context(), "order on "+n.Name, patience, func(ctx context.Context) (bool, string) {
			// A standby that followed the old primary beyond the fork has diverged, too.
			if err := letGo(ctx, n); err != nil {
				return false, err.Error()
			}
			i, err := n.Inventory(ctx)
			// The pool, pgresync and its root; data and ts1; pg, ts1 and wal.
			return err == nil && len(i.Datasets) <= 8 && i.Snapshots <= 24 && i.Slots <= 2, fmt.Sprintf("%+v %v", i, err)
		}))
		i, err := n.Inventory(t.Context())
		must(t, err)
		t.Logf("%s: %+v", n.Name, i)
	}
}

// oldBaseServes: five rounds later, a standby that was never resynced since its
// seed still finds what it has in common with the primary of the day.
func (f *failover) oldBaseServes(t part) {
	m := mark(f.db3)
	began := time.Now()
	f.trigger(t, f.db3, "")
	f.until(t, f.db3, m, patience, "proof", proven)
	moved := bytesOf(t, f.db3, m, "increment", "none")
	t.Logf("%.0f bytes in %s", moved, time.Since(began))
	f.well(t)
}
