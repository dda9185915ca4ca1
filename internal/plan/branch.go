package plan

import (
	"fmt"
	"slices"

	"github.com/pgresync/pgresync/messages"
)

// planner weighs the branches of a lineage for one pass.
type planner struct {
	targets  []target
	branches []Branch
	opts     Options
}

func (p *planner) target(name messages.RelName) target {
	i := slices.IndexFunc(p.targets, func(t target) bool { return t.name == name })
	return p.targets[i] // steps are made from targets
}

// candidate is a plan for one branch with what it is judged by.
type candidate struct {
	plan PassPlan
	// rootTXG is the createtxg of the root's base on the publisher, that of the target
	// itself when it is there already, 0 for a full stream.
	rootTXG messages.TXG
	current bool
	// fresh is true when the root is yet to be received, moves counts the streams.
	fresh bool
	moves int
}

// better orders candidates. The newest base comes first because the root is nearly
// all of the data; after it comes what was begun already.
func (c candidate) better(o candidate) bool {
	switch {
	case c.rootTXG != o.rootTXG:
		return c.rootTXG > o.rootTXG
	case c.current != o.current:
		return c.current
	case c.fresh != o.fresh:
		return !c.fresh
	case c.plan.NewBranch != o.plan.NewBranch:
		return !c.plan.NewBranch
	case c.moves != o.moves:
		return c.moves < o.moves
	}
	return c.plan.Branch < o.plan.Branch
}

func (p *planner) choose() (candidate, error) {
	best, found := candidate{}, false
	for _, b := range p.branches {
		if p.opts.Full && b.Name != p.opts.Current && b.Name != p.opts.NewBranch {
			continue
		}
		if c, ok := p.within(b); ok && (!found || c.better(best)) {
			best, found = c, true
		}
	}
	if p.opts.Full && found {
		return best, nil
	}
	c := p.anew()
	if found && !c.better(best) {
		return best, nil
	}
	name, err := p.freeName()
	if err != nil {
		return candidate{}, err
	}
	return p.anewAs(name), nil
}

// within plans for an existing branch; false when a dataset of it cannot go on.
func (p *planner) within(b Branch) (candidate, bool) {
	c := candidate{plan: PassPlan{Branch: b.Name}, current: b.Name == p.opts.Current}
	for _, t := range p.targets {
		s, ok := p.continued(b, t)
		if !ok {
			return candidate{}, false
		}
		c.add(s, t)
	}
	return c, true
}

// continued plans one dataset of an existing branch.
func (p *planner) continued(b Branch, t target) (Step, bool) {
	h, there := b.Histories[t.name]
	s := Step{Dataset: t.name, Into: join(b.Name, t.name), To: t.guid, Token: b.Tokens[t.name]}
	if have, ok := h.ByGUID(t.guid); ok && !have.Bookmark {
		s.Have, s.Token = true, ""
		return s, true
	}
	newest, some := newestSnapshot(h)
	switch {
	case some:
		// zfs recv takes an increment only onto the most recent snapshot (zfs-recv(8)).
		base, ok := t.bases[newest.GUID]
		s.Base = base
		return s, ok
	case there && s.Token == "":
		// An empty dataset of another's making: zfs recv would refuse it, and it is not
		// ours to remove.
		return Step{}, false
	}
	// New on the publisher since, or received in part.
	fresh := p.fresh(t, s.Into)
	fresh.Token = s.Token
	return fresh, true
}

// anew plans for a branch that does not exist.
func (p *planner) anew() candidate { return p.anewAs(p.opts.NewBranch) }

func (p *planner) anewAs(name messages.RelName) candidate {
	c := candidate{plan: PassPlan{Branch: name, NewBranch: true}}
	for _, t := range p.targets {
		c.add(p.fresh(t, join(name, t.name)), t)
	}
	return c
}

// fresh plans a dataset that is not there: a clone of the newest common base of
// any branch or of the live tree, or a full stream.
func (p *planner) fresh(t target, into messages.RelName) Step {
	s := Step{Dataset: t.name, Into: into, To: t.guid}
	if p.opts.Full {
		return s
	}
	consider := func(h messages.History) {
		for _, v := range h {
			base, ok := t.bases[v.GUID]
			if ok && !v.Bookmark && (s.Base.GUID == 0 || base.CreateTXG > s.Base.CreateTXG) {
				s.Base, s.Origin = base, v
			}
		}
	}
	for _, b := range p.branches {
		consider(b.Histories[t.name])
	}
	consider(p.opts.Live[t.name])
	return s
}

func (c *candidate) add(s Step, t target) {
	c.plan.Steps = append(c.plan.Steps, s)
	if !s.Have {
		c.moves++
	}
	if s.Dataset != "" {
		return
	}
	c.fresh = !s.Have && (s.Base.GUID == 0 || s.Origin.GUID != 0)
	if c.rootTXG = s.Base.CreateTXG; s.Have {
		c.rootTXG = t.txg
	}
}

// freeName prefers the name that the journal has already, so that a crash between
// the journal and the receive makes no second branch. A full copy is never named
// DefaultBranch while another name is at hand: after a crash it would not be told
// from the branch that it is to replace.
func (p *planner) freeName() (messages.RelName, error) {
	names := []messages.RelName{p.opts.Current, DefaultBranch, p.opts.NewBranch}
	if p.opts.Full {
		names = []messages.RelName{p.opts.Current, p.opts.NewBranch, DefaultBranch}
	}
	for i := 2; i < 10 && p.opts.NewBranch != ""; i++ {
		names = append(names, p.opts.NewBranch+messages.RelName(fmt.Sprintf("-%d", i)))
	}
	for _, name := range names {
		taken := slices.ContainsFunc(p.branches, func(b Branch) bool { return b.Name == name })
		if name != "" && !taken {
			return name, nil
		}
	}
	return "", fmt.Errorf("plan a new branch beside %d others: name %q: %w", len(p.branches), p.opts.NewBranch, messages.ErrExists)
}

func newestSnapshot(h messages.History) (messages.Snapshot, bool) {
	newest, ok := messages.Snapshot{}, false
	for _, s := range h {
		if !s.Bookmark && (!ok || s.CreateTXG > newest.CreateTXG) {
			newest, ok = s, true
		}
	}
	return newest, ok
}
