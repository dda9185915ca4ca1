package simulation

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// promote makes a primary of a standby; crash stops the old primary before.
func (w *world) promote(t *testing.T, old, to *node, crash bool) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	to.pg.catchUp()
	if crash {
		old.pg.running = false
	}
	line := to.pg.line
	ancestors := append(slices.Clone(line.Ancestors), messages.TimelineSwitch{Timeline: line.Current, EndLSN: to.pg.lsn})
	to.pg.role, to.pg.line = messages.RolePrimary, messages.TimelineHistory{Current: line.Current + 1, Ancestors: ancestors}
	if !crash {
		old.pg.lsn += 10 // it goes on writing
	}
	to.pg.lsn += 5
}

// follows reports whether n streams from p.
func (w *world) follows(n, p *node) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return n.pg.running && n.pg.catchUp() == p.pg
}

// rejoins counts the node's finished resyncs, and the kinds of their passes.
func (w *world) rejoins(n *node) (count int, kinds []messages.PassKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Node == n.name && e.Type == messages.EventRejoined {
			count++
			for _, p := range e.Resync.Passes {
				kinds = append(kinds, p.Kind)
			}
		}
	}
	return count, kinds
}

func (w *world) statusOf(n *node, sidecar string) messages.NodeStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status[messages.NodeKey(n.name, sidecar)]
}

// datasets lists the node's tree below its root.
func (n *node) datasets(t *testing.T) []messages.DatasetInfo {
	t.Helper()
	infos, err := n.zfs.ZFS.List(t.Context(), n.zfs.Root)
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

func (n *node) aside(t *testing.T) []messages.Dataset {
	t.Helper()
	var out []messages.Dataset
	for _, d := range n.datasets(t) {
		if strings.HasPrefix(string(d.Name), string(n.live)+".pgresync-diverged-") {
			out = append(out, d.Name)
		}
	}
	return out
}

// rounds of the longest test.
var rounds = flag.Int("sim.rounds", 0, "rounds of fail-over and fail-back, at most 5; 0 skips the whole simulation")

func TestRoundsOfFailoverAndFailback(t *testing.T) {
	w := newWorld(t, plan.RejoinAuto, "db1", "db2", "db3")
	now := w.first(t)
	now.zfs.Write(t, now.live, 1<<20)
	w.run(t)
	for _, n := range w.nodes[1:] {
		eventually(t, string(n.name)+" to be seeded", func() bool { return w.follows(n, now) && w.phaseOf(n) == messages.PhaseIdle })
	}
	for round, to := range []*node{w.nodes[1], w.nodes[0], w.nodes[1], w.nodes[0], w.nodes[1]}[:min(*rounds, 5)] {
		crash := round%2 == 1
		old, third := now, w.nodes[2]
		before, _ := w.rejoins(old)
		thirdBefore, _ := w.rejoins(third)
		w.promote(t, old, to, crash)
		now = to
		now.zfs.Write(t, now.live, 1000)
		what := fmt.Sprintf("round %d: ", round+1)
		eventually(t, what+string(old.name)+" to come back", func() bool {
			count, _ := w.rejoins(old)
			return count > before && w.follows(old, now)
		})
		eventually(t, what+string(third.name)+" to follow", func() bool { return w.follows(third, now) })
		if after, _ := w.rejoins(third); crash && after != thirdBefore {
			t.Errorf("round %d: %s was copied again although it could follow", round+1, third.name)
		}
		w.settles(t, old, round+1)
	}
	for _, n := range w.nodes {
		_, kinds := w.rejoins(n)
		if i := slices.Index(kinds, messages.PassSeed); i > 0 || n == w.nodes[0] && i == 0 {
			t.Errorf("%s: passes %v, want increments after the seed", n.name, kinds)
		}
		t.Logf("%s: passes %v", n.name, kinds)
	}
	// The standby that only ever followed has nothing but its seed in common.
	before, _ := w.rejoins(w.nodes[2])
	if err := w.nodes[2].sec.Trigger(t.Context(), messages.TriggerTarget{Node: "db3"}, messages.Trigger{V: 1}, time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "db3 to be resynced", func() bool { c, _ := w.rejoins(w.nodes[2]); return c > before })
	if _, kinds := w.rejoins(w.nodes[2]); kinds[len(kinds)-1] == messages.PassSeed {
		t.Errorf("db3: passes %v, want an increment from its old base", kinds)
	}
	eventually(t, "db3 to have the primary's data", func() bool {
		return w.nodes[2].zfs.Content(t, w.nodes[2].live) == now.zfs.Content(t, now.live)
	})
}

// settles waits until the housekeeping is done, and lets the diverged data go as its
// operator would.
func (w *world) settles(t *testing.T, old *node, round int) {
	t.Helper()
	eventually(t, fmt.Sprintf("round %d: the diverged data of %s", round, old.name), func() bool { return len(old.aside(t)) == 1 })
	old.letGo(t)
	eventually(t, fmt.Sprintf("round %d: order on %s", round, old.name), func() bool {
		branches := 0
		for _, d := range old.datasets(t) {
			if d.Name.Parent() == old.lineage {
				branches++
			}
		}
		return branches == 1
	})
	for _, n := range w.nodes {
		var datasets, snapshots, bookmarks int
		// The root, the lineage's root and its branch, the live dataset.
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s\n%s", n.name, n.zfs.Tool(t, "list", "-Hp", "-r", "-t", "all", "-o", "name,origin", string(n.zfs.Root)))
			}
		})
		eventually(t, fmt.Sprintf("round %d: no more than there should be on %s", round, n.name), func() bool {
			n.letGo(t) // a standby that followed the old primary beyond the fork has diverged, too
			datasets, snapshots, bookmarks = n.count(t)
			return datasets <= 4 && snapshots <= 8 && bookmarks <= 40
		})
		t.Logf("round %d: %s has %d datasets, %d snapshots, %d bookmarks", round, n.name, datasets, snapshots, bookmarks)
	}
}

// letGo does what zfs destroy -r does: the fake knows single destroys only.
func (n *node) letGo(t *testing.T) {
	t.Helper()
	for _, diverged := range n.aside(t) {
		histories, err := n.zfs.ZFS.Histories(t.Context(), diverged)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range histories[diverged] {
			if !v.Bookmark {
				n.zfs.Tool(t, "destroy", string(v.Name))
			}
		}
		n.zfs.Tool(t, "destroy", string(diverged))
	}
}

func (n *node) count(t *testing.T) (datasets, snapshots, bookmarks int) {
	t.Helper()
	histories, err := n.zfs.ZFS.Histories(t.Context(), n.zfs.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range histories {
		for _, v := range h {
			if v.Bookmark {
				bookmarks++
			} else {
				snapshots++
			}
		}
	}
	return len(histories), snapshots, bookmarks
}

// A node may be promoted while it is still proving itself: it is a primary all the
// same, and the way back would take its data away.
func TestACopyThatIsPromotedBeforeItsProofStaysInPlace(t *testing.T) {
	w := newWorld(t, plan.RejoinTrigger, "db1", "db2")
	db1, db2 := w.first(t), w.nodes[1]
	w.run(t)
	eventually(t, "db2 to prove itself", func() bool { return w.phaseOf(db2) == messages.PhaseProving })
	w.promote(t, db1, db2, true)
	eventually(t, "db2 to be at rest", func() bool { return w.phaseOf(db2) == messages.PhaseIdle })
	if !db2.pg.running || db2.pg.role != messages.RolePrimary {
		t.Error("the promoted primary was stopped")
	}
}

// phaseOf is the phase that the node's events told last.
func (w *world) phaseOf(n *node) messages.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range slices.Backward(w.events) {
		if e.Node == n.name && e.Resync != nil {
			return e.Resync.Phase
		}
	}
	return ""
}

func TestADeposedPrimaryIsReportedAndLeftAlone(t *testing.T) {
	w := newWorld(t, plan.RejoinTrigger, "db1", "db2")
	db1, db2 := w.first(t), w.nodes[1]
	w.run(t)
	eventually(t, "db2 to be seeded", func() bool { return w.follows(db2, db1) })
	before := db1.datasets(t)
	w.promote(t, db1, db2, false)
	eventually(t, "the report", func() bool {
		s := w.statusOf(db1, "secondary")
		return s.Verdict == messages.VerdictNeedsOperator && s.Reason == messages.ReasonPromoted
	})
	eventually(t, "its publisher to say why it does not publish", func() bool {
		return strings.Contains(w.statusOf(db1, "primary").Evidence, "node db2 holds it on timeline 2")
	})
	if !db1.pg.running || db1.pg.role != messages.RolePrimary || len(db1.datasets(t)) != len(before) {
		t.Error("it was touched")
	}
	if err := db1.sec.Trigger(t.Context(), messages.TriggerTarget{All: true}, messages.Trigger{V: 1}, time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal of a trigger to all", func() bool {
		return w.statusOf(db1, "secondary").Phase == messages.PhaseNeedsOperator
	})
	if count, _ := w.rejoins(db1); count > 0 {
		t.Error("a trigger to all replaced it")
	}
	if err := db1.sec.Trigger(t.Context(), messages.TriggerTarget{Node: "db1"}, messages.Trigger{V: 1}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "db1 to come back by a trigger that names it", func() bool { return w.follows(db1, db2) })
	eventually(t, "its diverged data", func() bool { return len(db1.aside(t)) == 1 })
	if _, kinds := w.rejoins(db1); slices.Contains(kinds, messages.PassSeed) {
		t.Errorf("passes %v, want increments", kinds)
	}
}
