package plan

import (
	"fmt"
	"slices"

	"github.com/pgresync/pgresync/messages"
)

// DefaultBranch is the name of a lineage's first branch.
const DefaultBranch = messages.RelName("data")

// Branch is one received tree of a lineage.
type Branch struct {
	// Name is relative to the lineage root: "data".
	Name messages.RelName
	// Histories are the versions of each dataset of the tree, by its name relative to
	// the branch. A dataset that exists without a version has an entry, too.
	Histories map[messages.RelName]messages.History
	// Tokens are those of the partial receives in the tree.
	Tokens map[messages.RelName]messages.ResumeToken
}

// Options of Pass.
type Options struct {
	// Full asks for a copy that shares nothing with what the lineage holds.
	Full bool
	// NewBranch is the name for a branch to be made when DefaultBranch is taken, and
	// for a full copy. It should contain the resync's id: a branch that has this name
	// already was begun by the same resync.
	NewBranch messages.RelName
	// Current is the branch that this resync works in already, "" before its first
	// pass. A full copy goes on there instead of beginning again.
	Current messages.RelName
	// Live are the versions of the live tree's datasets. A node that published has
	// snapshots of its own there, and a new branch may be a clone of them; nothing is
	// ever received into it.
	Live map[messages.RelName]messages.History
}

// Step is one dataset's part of a pass.
type Step struct {
	// Dataset is its name in the manifest.
	Dataset messages.RelName
	// Into is where it is received, relative to the lineage root.
	Into messages.RelName
	// Base is the publisher's version to send from, a bookmark perhaps; the zero value
	// asks for a full stream.
	Base messages.Snapshot
	// Origin is the snapshot of the lineage, or of the live tree, with Base's GUID of
	// which Into is to be a clone (zfs recv -o origin=…); zero when Into exists or the stream is full.
	Origin messages.Snapshot
	To     messages.GUID
	// Create are the parents of Into that do not travel and are not there, relative to
	// the lineage root, parents first: to be created right before this step, because
	// their own parent may be what an earlier step receives.
	Create []messages.RelName
	// Token waits in Into. It is of this very step only if its GUIDs are Base's and To;
	// the caller looks, and aborts the partial receive otherwise.
	Token messages.ResumeToken
	// Have is true when Into holds To already.
	Have bool
}

// PassPlan is what has to move, and where.
type PassPlan struct {
	Branch    messages.RelName
	NewBranch bool
	Kind      messages.PassKind
	// BaseID is of the root dataset's base, "" when it is not ours or there is none.
	BaseID messages.SnapshotID
	// Steps are in the order to take them: parents first.
	Steps []Step
	// Remove are the datasets, relative to the lineage root, whose partial receive is
	// of no use any more; zfs recv -A before the first step.
	Remove []messages.RelName
}

// GoneError says that the publisher can no longer send the target; ask for another
// snapshot.
type GoneError struct {
	Dataset messages.RelName
	Target  messages.GUID
}

// Error names dataset and snapshot.
func (e *GoneError) Error() string {
	return fmt.Sprintf("plan dataset %q: the publisher has snapshot %s as a bookmark only; ask for a newer one", e.Dataset, e.Target)
}

// Is makes the error a messages.ErrNotFound.
func (e *GoneError) Is(target error) bool { return target == messages.ErrNotFound }

// Pass plans how to bring a lineage to m's snapshot. primary gives the publisher's
// versions of a dataset, from the node that made m; branches are the lineage's.
//
// An existing branch serves only if every dataset in it can go on in place: its
// newest snapshot is the target, or is on the publisher and older than the target.
// Otherwise the whole tree is received into a new branch, whose datasets are clones
// of the newest common bases, in the lineage or in the live tree. Among the possible branches the one with the newest
// base of the root dataset is taken.
//
// Errors: *GoneError, and one that wraps messages.ErrExists when a new branch is
// needed and no name is free.
func Pass(m *messages.Manifest, primary func(messages.RelName) messages.History, branches []Branch, o Options) (PassPlan, error) {
	p := planner{branches: branches, opts: o}
	for _, d := range m.Travelling() {
		p.targets = append(p.targets, newTarget(d, primary(d.Name)))
	}
	c, err := p.choose()
	if err != nil {
		return PassPlan{}, err
	}
	for _, s := range c.plan.Steps {
		if t := p.target(s.Dataset); !s.Have && t.bookmarkOnly {
			return PassPlan{}, &GoneError{Dataset: s.Dataset, Target: s.To}
		}
	}
	p.describe(&c.plan)
	c.plan.Remove = p.useless(c.plan)
	p.addParents(&c.plan)
	return c.plan, nil
}

// target is one dataset's goal with the versions that can lead to it.
type target struct {
	name messages.RelName
	guid messages.GUID
	txg  messages.TXG
	// bases are the publisher's versions older than the target, by GUID, a snapshot
	// rather than its bookmark.
	bases        map[messages.GUID]messages.Snapshot
	bookmarkOnly bool
}

func newTarget(d messages.ManifestDataset, h messages.History) target {
	t := target{name: d.Name, guid: d.GUID, txg: d.CreateTXG, bases: map[messages.GUID]messages.Snapshot{}}
	// The publisher's own listing is the better word on order: after a fail-over the
	// same snapshot has another createtxg in another pool.
	if s, ok := h.ByGUID(d.GUID); ok {
		t.txg, t.bookmarkOnly = s.CreateTXG, s.Bookmark
	}
	for _, s := range h {
		if s.CreateTXG >= t.txg || s.GUID == t.guid {
			continue
		}
		if have, ok := t.bases[s.GUID]; !ok || have.Bookmark {
			t.bases[s.GUID] = s
		}
	}
	return t
}

// describe fills in what the plan amounts to. A seed that was cut has its first
// datasets already, the root among them, and stays a seed.
func (p *planner) describe(plan *PassPlan) {
	plan.Kind = messages.PassNone
	for _, s := range plan.Steps {
		switch {
		case s.Have:
			continue
		case s.Base.GUID != 0:
			plan.Kind = messages.PassIncrement
		case s.Dataset == "":
			plan.Kind = messages.PassSeed
			return
		case plan.Kind == messages.PassNone:
			plan.Kind = messages.PassSeed
		}
		if s.Dataset == "" {
			plan.BaseID, _ = messages.SnapshotIDOf(s.Base.Name)
		}
	}
}

// addParents adds to each step what must be created for it.
func (p *planner) addParents(plan *PassPlan) {
	there := map[messages.RelName]bool{plan.Branch: true}
	for _, b := range p.branches {
		for name, h := range b.Histories {
			// What is nothing but a partial receive goes with it.
			into := join(b.Name, name)
			there[into] = len(h) > 0 || !slices.Contains(plan.Remove, into)
		}
	}
	for _, s := range plan.Steps {
		there[s.Into] = true
	}
	for i := range plan.Steps {
		s := &plan.Steps[i]
		for up := parent(s.Into); up != "" && !there[up]; up = parent(up) {
			there[up] = true
			s.Create = append(s.Create, up)
		}
		slices.Reverse(s.Create)
	}
}

// useless lists the partial receives that no step continues.
func (p *planner) useless(plan PassPlan) []messages.RelName {
	kept := map[messages.RelName]bool{}
	for _, s := range plan.Steps {
		if s.Token != "" {
			kept[s.Into] = true
		}
	}
	var remove []messages.RelName
	for _, b := range p.branches {
		for name, token := range b.Tokens {
			if into := join(b.Name, name); token != "" && !kept[into] {
				remove = append(remove, into)
			}
		}
	}
	slices.Sort(remove)
	return remove
}

func join(branch, name messages.RelName) messages.RelName {
	return messages.RelName(messages.Dataset(branch).Child(name))
}

func parent(name messages.RelName) messages.RelName {
	return messages.RelName(messages.Dataset(name).Parent())
}
