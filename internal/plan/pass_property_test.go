package plan_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// fileSystem is what the model of ZFS knows of one received dataset.
type fileSystem struct {
	snapshots []messages.GUID // oldest first
	partial   *partial
}

type partial struct{ from, to messages.GUID }

// pool is a model of a lineage: the rules of zfs recv that a plan must obey.
type pool map[messages.RelName]*fileSystem

func up(n messages.RelName) messages.RelName {
	return messages.RelName(messages.Dataset(n).Parent())
}

func (p pool) create(n messages.RelName) error {
	if p[n] != nil {
		return fmt.Errorf("%s exists", n)
	}
	if parent := up(n); parent != "" && p[parent] == nil {
		return fmt.Errorf("parent of %s does not exist", n)
	}
	p[n] = &fileSystem{}
	return nil
}

// abort is zfs recv -A: a dataset that is nothing but a partial receive goes.
func (p pool) abort(n messages.RelName) error {
	fs := p[n]
	if fs == nil || fs.partial == nil {
		return fmt.Errorf("%s has no partial receive", n)
	}
	if fs.partial = nil; len(fs.snapshots) == 0 {
		delete(p, n)
	}
	return nil
}

// receive takes one stream.
func (p pool) receive(s plan.Step) error {
	fs := p[s.Into]
	if fs != nil && fs.partial != nil {
		if s.Token == "" {
			return fmt.Errorf("%s has a partial receive in the way", s.Into)
		}
		if *fs.partial == (partial{s.Base.GUID, s.To}) {
			fs.partial, fs.snapshots = nil, append(fs.snapshots, s.To)
			return nil
		}
		// The caller looks at the token's GUIDs and gives it up.
		if err := p.abort(s.Into); err != nil {
			return err
		}
		fs = p[s.Into]
	} else if s.Token != "" {
		return fmt.Errorf("%s has no partial receive to go on with", s.Into)
	}
	switch {
	case s.Base.GUID != 0 && s.Origin.GUID == 0:
		if fs == nil || len(fs.snapshots) == 0 || fs.snapshots[len(fs.snapshots)-1] != s.Base.GUID {
			return fmt.Errorf("most recent snapshot of %s does not match incremental source %s", s.Into, s.Base.GUID)
		}
		fs.snapshots = append(fs.snapshots, s.To)
		return nil
	case s.Origin.GUID != s.Base.GUID:
		return fmt.Errorf("origin %s is not the base %s", s.Origin.GUID, s.Base.GUID)
	case s.Origin.GUID != 0 && !p.has(s.Origin.GUID):
		return fmt.Errorf("origin %s does not exist", s.Origin.GUID)
	}
	if err := p.create(s.Into); err != nil {
		return err
	}
	p[s.Into].snapshots = []messages.GUID{s.To}
	return nil
}

func (p pool) has(g messages.GUID) bool {
	for _, fs := range p {
		if slices.Contains(fs.snapshots, g) {
			return true
		}
	}
	return false
}

// apply does what a plan says, as a service would.
func (p pool) apply(pp plan.PassPlan) error {
	for _, n := range pp.Remove {
		if err := p.abort(n); err != nil {
			return err
		}
	}
	for _, s := range pp.Steps {
		for _, c := range s.Create {
			if err := p.create(c); err != nil {
				return err
			}
		}
		if s.Have {
			if fs := p[s.Into]; fs == nil || !slices.Contains(fs.snapshots, s.To) {
				return fmt.Errorf("%s does not have %s", s.Into, s.To)
			}
			continue
		}
		if err := p.receive(s); err != nil {
			return err
		}
	}
	return nil
}

// branches is how a service lists the model.
func (p pool) branches() []plan.Branch {
	by := map[messages.RelName]plan.Branch{}
	for _, n := range slices.Sorted(maps.Keys(p)) {
		if up(n) == "" {
			by[n] = plan.Branch{Name: n, Histories: map[messages.RelName]messages.History{}, Tokens: map[messages.RelName]messages.ResumeToken{}}
		}
		for name, b := range by {
			r, ok := messages.Dataset(n).Rel(messages.Dataset(name))
			if !ok {
				continue
			}
			var h messages.History
			for i, g := range p[n].snapshots {
				h = append(h, messages.Snapshot{Name: messages.Dataset("tank/l").Child(n).Snapshot(g.String()), GUID: g, CreateTXG: messages.TXG(1000 + i)})
			}
			b.Histories[r] = h
			if p[n].partial != nil {
				b.Tokens[r] = "1-ab"
			}
		}
	}
	return slices.SortedFunc(maps.Values(by), func(a, b plan.Branch) int {
		return slices.Compare([]byte(a.Name), []byte(b.Name))
	})
}

// world is a publisher and a lineage that may have come about by anything.
type world struct {
	m       *messages.Manifest
	primary map[messages.RelName]messages.History
	lineage pool
}

// pointGUID is of the i-th version of a dataset; 900 and up are the lineage's own.
func pointGUID(ds, i int) messages.GUID { return messages.GUID(1 + 1000*ds + i) }

var genWorld = rapid.Custom(func(t *rapid.T) world {
	w := world{m: &messages.Manifest{}, primary: map[messages.RelName]messages.History{}, lineage: pool{}}
	names := []messages.RelName{"", "a", "a/b", "c/d"}[:rapid.IntRange(1, 4).Draw(t, "datasets")]
	points := rapid.IntRange(1, 6).Draw(t, "points")
	target := rapid.IntRange(0, points-1).Draw(t, "target")
	for d, name := range names {
		travels := name == "" || rapid.IntRange(0, 4).Draw(t, "travels") > 0
		w.m.Datasets = append(w.m.Datasets, messages.ManifestDataset{
			Name: name, GUID: pointGUID(d, target), CreateTXG: messages.TXG(10 * (target + 1)), Travels: travels,
		})
		w.primary[name] = genPublisher(t, d, points, target)
	}
	for b := range rapid.IntRange(0, 3).Draw(t, "branches") {
		genBranch(t, w.lineage, []messages.RelName{"data", "data-2", "data-3"}[b], names, points)
	}
	return w
})

// genPublisher draws which points survive, as a snapshot, a bookmark or both.
func genPublisher(t *rapid.T, d, points, target int) messages.History {
	var h messages.History
	for i := range points {
		kind := rapid.SampledFrom([]string{"", "@", "#", "@#"}).Draw(t, "survives")
		if i == target {
			kind = "@" + rapid.SampledFrom([]string{"", "#"}).Draw(t, "and")
		}
		for _, c := range kind {
			h = append(h, messages.Snapshot{
				Name: messages.SnapshotName(fmt.Sprintf("tank/pg%cx%d", c, i)),
				GUID: pointGUID(d, i), CreateTXG: messages.TXG(10 * (i + 1)), Bookmark: c == '#',
			})
		}
	}
	return h
}

// genBranch draws any subset of the publisher's points with local ones between.
func genBranch(t *rapid.T, p pool, branch messages.RelName, names []messages.RelName, points int) {
	for d, name := range names {
		n := messages.RelName(messages.Dataset(branch).Child(name))
		// A dataset that is nothing but a partial receive has no children yet.
		if parent := p[up(n)]; name != "" && (parent == nil || len(parent.snapshots) == 0 && parent.partial != nil || rapid.IntRange(0, 5).Draw(t, "missing") == 0) {
			continue
		}
		fs := &fileSystem{}
		for i := range points {
			if rapid.Bool().Draw(t, "received") {
				fs.snapshots = append(fs.snapshots, pointGUID(d, i))
			}
			if rapid.IntRange(0, 7).Draw(t, "foreign") == 0 {
				fs.snapshots = append(fs.snapshots, pointGUID(d, 900+i))
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
			fs.partial = &partial{
				from: rapid.SampledFrom([]messages.GUID{0, pointGUID(d, 0), pointGUID(d, 1)}).Draw(t, "from"),
				to:   pointGUID(d, rapid.IntRange(0, points-1).Draw(t, "to")),
			}
		}
		p[n] = fs
	}
}

func genOptions(t *rapid.T) plan.Options {
	return plan.Options{
		Full: rapid.Bool().Draw(t, "full"), NewBranch: "data-n",
		Current: rapid.SampledFrom([]messages.RelName{"", "data", "data-2", "data-n"}).Draw(t, "current"),
	}
}

// Whatever the two sides look like, the plan can be carried out, ends with every
// travelling dataset at the target, and then there is nothing more to do.
func TestPassAlwaysArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, o := genWorld.Draw(t, "world"), genOptions(t)
		primary := func(n messages.RelName) messages.History { return w.primary[n] }
		pp, err := plan.Pass(w.m, primary, w.lineage.branches(), o)
		if err != nil {
			t.Fatalf("plan: %v", err)
		}
		if err := w.lineage.apply(pp); err != nil {
			t.Fatalf("plan %v: %v", show(pp), err)
		}
		for _, d := range w.m.Travelling() {
			into := messages.RelName(messages.Dataset(pp.Branch).Child(d.Name))
			if fs := w.lineage[into]; fs == nil || !slices.Contains(fs.snapshots, d.GUID) {
				t.Fatalf("plan %v leaves %s without its target", show(pp), into)
			}
		}
		o.Current = pp.Branch
		again, err := plan.Pass(w.m, primary, w.lineage.branches(), o)
		if err != nil || again.Kind != messages.PassNone || again.Branch != pp.Branch || len(again.Remove) > 0 {
			t.Fatalf("planned again: %v, %v, want nothing to do in %s", show(again), err, pp.Branch)
		}
	})
}

// What is sent is always the manifest's snapshot, from something older that the
// publisher has, in its own order.
func TestPassNeverGoesBackwards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, o := genWorld.Draw(t, "world"), genOptions(t)
		pp, err := plan.Pass(w.m, func(n messages.RelName) messages.History { return w.primary[n] }, w.lineage.branches(), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range pp.Steps {
			d, ok := w.m.Dataset(s.Dataset)
			if !ok || !d.Travels || s.To != d.GUID {
				t.Fatalf("step %v is not for the manifest's snapshot", s)
			}
			if s.Have || s.Base.GUID == 0 {
				continue
			}
			if !slices.Contains(w.primary[s.Dataset], s.Base) || s.Base.CreateTXG >= d.CreateTXG {
				t.Fatalf("step %v: its base is not an older version of the publisher's", s)
			}
			if o.Full && s.Origin.GUID != 0 {
				t.Fatalf("step %v of a full copy is a clone of what is there", s)
			}
		}
	})
}

// A pass that is cut after any step and planned again goes on where it was: same
// branch, and nothing that arrived is moved twice (I-11).
func TestPassGoesOnAfterAnInterruption(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, o := genWorld.Draw(t, "world"), genOptions(t)
		primary := func(n messages.RelName) messages.History { return w.primary[n] }
		first, err := plan.Pass(w.m, primary, w.lineage.branches(), o)
		if err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(1, len(first.Steps)).Draw(t, "cut")
		part := first
		part.Steps = first.Steps[:cut]
		if err := w.lineage.apply(part); err != nil {
			t.Fatal(err)
		}
		second, err := plan.Pass(w.m, primary, w.lineage.branches(), o)
		if err != nil {
			t.Fatal(err)
		}
		if second.Branch != first.Branch {
			t.Fatalf("went on in %s, want %s: %v then %v", second.Branch, first.Branch, show(first), show(second))
		}
		for _, s := range second.Steps[:cut] {
			if !s.Have || len(s.Create) > 0 {
				t.Fatalf("%s is moved twice: %v then %v", s.Into, show(first), show(second))
			}
		}
		if err := w.lineage.apply(second); err != nil {
			t.Fatalf("%v then %v: %v", show(first), show(second), err)
		}
	})
}

func TestPassChangesNoArgument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, o := genWorld.Draw(t, "world"), genOptions(t)
		branches, before := w.lineage.branches(), w.lineage.branches()
		primary := func(n messages.RelName) messages.History { return w.primary[n] }
		one, err := plan.Pass(w.m, primary, branches, o)
		if err != nil {
			t.Fatal(err)
		}
		two, _ := plan.Pass(w.m, primary, branches, o)
		if !reflect.DeepEqual(branches, before) || !reflect.DeepEqual(one, two) {
			t.Fatal("a second plan from the same facts differs")
		}
	})
}
