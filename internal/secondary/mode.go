package secondary

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Mode is what may be given up where two copies do not fit
// (docs/adr/0019-modes-for-tight-hosts.md).
type Mode string

// The modes.
const (
	// ModeSideBySide gives up nothing: what does not fit needs an operator.
	ModeSideBySide Mode = "side-by-side"
	// ModeInPlace lets a broken live copy go, so that an increment fits in its place.
	ModeInPlace Mode = "in-place"
	// ModeDiscardBroken lets it go for a seed, too.
	ModeDiscardBroken Mode = "discard-broken"
)

// cramped decides about a pass that does not fit. What nobody needs goes first; the
// live copy is last, and only if its operator's mode says so.
func (s *Service) cramped(ctx context.Context, m *messages.Manifest, pp plan.PassPlan, why error) (resync.Event, error) {
	// Who starts PostgreSQL himself can go on to another method of his, which is not
	// made for a dataset that is gone.
	if s.cfg.Mode != ModeInPlace && s.cfg.Mode != ModeDiscardBroken || s.journal().HandOver {
		return "", why
	}
	freed, err := s.dropUnneeded(ctx)
	if err != nil {
		return "", err
	}
	if freed {
		return s.receive(ctx)
	}
	begun, err := s.discardBegun(ctx, pp)
	if err == nil && !begun {
		err = s.mayDiscard(ctx, m, pp)
	}
	if err != nil {
		return "", fmt.Errorf("mode %s: %w; it is wanted because of: %s", s.cfg.Mode, err, why.Error())
	}
	s.log.Warn().Err(why).Str("mode", string(s.cfg.Mode)).Msg("the live copy is given up for room: the standby is down until the transfer is done")
	s.later(func(n *resync.Journal) { n.Branch = pp.Branch })
	return resync.EventCramped, nil
}

// dropUnneeded removes what earlier tries left behind.
func (s *Service) dropUnneeded(ctx context.Context) (freed bool, err error) {
	next, err := s.readTree(ctx, s.cfg.next())
	if err != nil {
		return false, err
	}
	old, err := s.readTree(ctx, s.cfg.old())
	if err != nil {
		return false, err
	}
	if freed = next.exists(); freed {
		err = s.removeNext(ctx)
	}
	if err == nil && old.exists() && s.journal().Proven {
		freed, err = true, s.disposeOld(ctx)
	}
	if err == nil && freed {
		err = s.awaitRoom(ctx)
	}
	return freed, err
}

// discardBegun reports whether an earlier try failed with the copy half destroyed, or
// before the received data went that are of no use: the copy itself is gone by then.
func (s *Service) discardBegun(ctx context.Context, pp plan.PassPlan) (bool, error) {
	old, err := s.readTree(ctx, s.cfg.old())
	if err != nil || old.exists() {
		return err == nil && old.tree[0].Marks[messages.PropDiscarded] != "", err
	}
	local, err := s.readTree(ctx, s.cfg.local())
	if err != nil || !local.exists() {
		return false, err
	}
	l, err := s.readTree(ctx, s.cfg.Dataset)
	if err != nil || l.exists() {
		return false, err
	}
	useless, err := s.useless(ctx, pp)
	return len(useless) > 0, err
}

// mayDiscard checks every condition under which the live copy may go before its
// replacement is there; each is checked again right before the deed it is about.
func (s *Service) mayDiscard(ctx context.Context, m *messages.Manifest, pp plan.PassPlan) error {
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	if !l.exists() {
		return refuse("there is no live copy whose room could be used", "free or add space in the pool, then: "+s.triggerCommand())
	}
	old, err := s.readTree(ctx, s.cfg.old())
	if err != nil {
		return err
	}
	if old.exists() {
		return refuse(fmt.Sprintf("%s is there from an earlier resync", s.cfg.old()), "bring it back or destroy it by hand, then: "+s.triggerCommand())
	}
	if err := s.discardable(ctx, l); err != nil {
		return err
	}
	for _, step := range pp.Steps {
		_, inLive := step.Origin.Name.Dataset().Rel(s.cfg.Dataset)
		switch {
		case step.Origin.GUID != 0 && inLive:
			return refuse(fmt.Sprintf("the base of dataset %q lies in the live copy itself", step.Dataset), "free or add space in the pool, then: "+s.triggerCommand())
		case !step.Have && step.Base.GUID == 0 && s.cfg.Mode == ModeInPlace:
			return refuse(fmt.Sprintf("dataset %q has no base in common with the publisher and must come whole", step.Dataset),
				"free or add space in the pool, or let PGRESYNC_MODE=discard-broken destroy the broken copy first")
		}
	}
	if err := s.helps(ctx, m, pp, l); err != nil {
		return err
	}
	return s.strangers(l)
}

// refuse is a condition that only a person can change.
func refuse(what, remedy string) error {
	return incurable(fmt.Errorf("%w: %s", messages.ErrRefused, what), remedy)
}

// discardable: only what is ours, broken, and holds nothing that exists nowhere else.
func (s *Service) discardable(ctx context.Context, l live) error {
	j := s.journal()
	root := l.tree[0]
	keep := "look at it, then move or destroy it by hand"
	switch {
	case !l.ours() && !s.cfg.Adopt:
		return refuse(fmt.Sprintf("%s is not of pgresync's making", root.Name), "PGRESYNC_ADOPT=true lets it be destroyed")
	case j.Diverged, j.Reason == messages.ReasonDiverged, j.Reason == messages.ReasonPromoted, root.Marks[messages.PropDiverged] != "":
		return refuse(fmt.Sprintf("%s may hold writes that exist nowhere else", root.Name), keep)
	}
	if id, err := s.db.Identity(ctx); err == nil && id.Role == messages.RolePrimary {
		return refuse(fmt.Sprintf("PostgreSQL on %s is out of recovery", s.cfg.Node), keep)
	}
	if r, err := s.db.Receiver(ctx); err == nil && r.Streaming {
		return refuse("the standby streams: what works is never given up", "free or add space in the pool")
	}
	why, err := s.strayed(ctx, l)
	if err != nil {
		return err
	}
	if why != "" {
		return refuse(fmt.Sprintf("%s may hold what exists nowhere else: %s", root.Name, why), keep)
	}
	histories, err := s.ownHistories(ctx)
	if err != nil {
		return err
	}
	for _, h := range histories {
		for _, v := range h {
			if _, ours := messages.SnapshotIDOf(v.Name); !ours {
				return refuse(fmt.Sprintf("%s is not ours and would go with it", v.Name), "destroy it, if it may go, then: "+s.triggerCommand())
			}
		}
	}
	return nil
}

// helps estimates whether the room of the live copy is enough: nothing is given up
// for a transfer that would fail all the same.
func (s *Service) helps(ctx context.Context, m *messages.Manifest, pp plan.PassPlan, l live) error {
	lineage, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return err
	}
	free := lineage[0].Available + l.tree[0].Used
	useless, err := s.useless(ctx, pp)
	if err != nil {
		return err
	}
	for _, d := range useless {
		free += d.Used
	}
	var need uint64
	for _, step := range pp.Steps {
		n, err := s.sizeOf(ctx, m, step)
		if err != nil {
			return fmt.Errorf("size of dataset %q: %w", step.Dataset, err)
		}
		need += n
	}
	if need += need / 20; need > free {
		return refuse(fmt.Sprintf("about %d bytes are needed, and without the live copy %d would be free", need, free),
			"free or add space in the pool, then: "+s.triggerCommand())
	}
	return nil
}

func (s *Service) sizeOf(ctx context.Context, m *messages.Manifest, step plan.Step) (uint64, error) {
	if step.Have {
		return 0, nil
	}
	if s.estimates == nil {
		if d, _ := m.Dataset(step.Dataset); step.Base.GUID == 0 {
			return d.Referenced, nil
		}
		return 0, nil
	}
	got, err := s.estimates.Estimate(ctx, messages.StreamRequest{
		V: messages.Version, Cluster: s.cfg.Cluster, Node: s.cfg.Node, Dataset: step.Dataset, To: step.To, From: step.Base.GUID,
	})
	if err != nil {
		return 0, err
	}
	return got.Bytes, nil
}

// topBranch is the branch that d is the top of.
func (s *Service) topBranch(d messages.Dataset) (messages.RelName, bool) {
	rel, in := d.Rel(s.cfg.Lineage)
	return rel, in && rel != "" && !strings.Contains(string(rel), "/")
}
