package secondary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// clearLive stops PostgreSQL and sets the live copy aside, to be destroyed. Until it is
// done a revert brings it back; each step looks first at what is there.
func (s *Service) clearLive(ctx context.Context) (resync.Event, error) {
	l, err := s.readLive(ctx)
	if err != nil {
		return "", fmt.Errorf("clear: %w", err)
	}
	if l.exists() {
		if err := s.clearFor(ctx, l); err != nil {
			return "", fmt.Errorf("clear: %w", err)
		}
	}
	if s.resumed {
		if err := s.freeOld(ctx); err != nil {
			return "", fmt.Errorf("clear: %w", err)
		}
	}
	// A boot must not mount what is about to be destroyed.
	if err := s.keepFromBoot(ctx); err != nil {
		return "", fmt.Errorf("clear: %w", err)
	}
	return resync.EventCleared, nil
}

func (s *Service) clearFor(ctx context.Context, l live) error {
	if err := s.discardable(ctx, l); err != nil {
		return err
	}
	if err := s.saveLocal(ctx, l); err != nil {
		return err
	}
	if _, err := s.stop(ctx); err != nil {
		return err
	}
	if s.journal().Diverged {
		return refuse(fmt.Sprintf("%s may hold writes that exist nowhere else: PostgreSQL had left recovery", s.cfg.Dataset),
			"look at it, then move or destroy it by hand")
	}
	// It may have been mounted again, to be looked into.
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	return s.setAside(ctx, l)
}

// discardOld destroys the copy that was set aside, and for a seed the received data
// that shares nothing with what comes.
func (s *Service) discardOld(ctx context.Context) (resync.Event, error) {
	old, err := s.readTree(ctx, s.cfg.old())
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return s.discardsNothing(ctx, fmt.Errorf("discard: %w", err)), nil
	}
	if old.exists() {
		checked, err := s.mayDestroyOld(ctx, old)
		if err != nil {
			return s.oldStays(ctx, old, err)
		}
		if err := s.destroyOld(ctx, checked); err != nil {
			return s.notDiscarded(ctx, old, err)
		}
		s.log.Warn().Str("dataset", string(s.cfg.old())).Str("mode", string(s.cfg.Mode)).Msg("the broken copy is destroyed for room")
	}
	if err := s.discardBranches(ctx); err != nil {
		return "", fmt.Errorf("discard: %w", err)
	}
	if err := s.awaitRoom(ctx); err != nil {
		return "", fmt.Errorf("discard: %w", err)
	}
	return resync.EventDiscarded, nil
}

// discardsNothing goes back: nothing went for the old copy, and the way back finds out
// what went before. It is a failure like any other: down time was spent on it.
func (s *Service) discardsNothing(ctx context.Context, cause error) resync.Event {
	j := s.journal()
	remedy, hopeless := s.judged(j, cause)
	s.later(s.blame(ctx, j, cause, remedy, hopeless))
	return resync.EventKept
}

// mayDestroyOld checks once more, right before, what may not go.
func (s *Service) mayDestroyOld(ctx context.Context, old live) (live, error) {
	if s.resumed {
		if err := s.freeOld(ctx); err != nil {
			return old, err
		}
		var err error
		if old, err = s.readTree(ctx, s.cfg.old()); err != nil || !old.exists() {
			return old, err // what was found out just now is among its marks
		}
	}
	marks := old.tree[0].Marks
	adopted := marks[messages.PropReplaced] != "" && s.cfg.Adopt
	if marks[messages.PropDiverged] != "" || s.journal().Diverged || !old.ours() && !adopted {
		return old, refuse(fmt.Sprintf("%s is not to be destroyed: it is not ours, or may hold writes that exist nowhere else", s.cfg.old()), "look at it")
	}
	if adopted {
		return old, s.adopt(ctx, old)
	}
	return old, nil
}

func (s *Service) destroyOld(ctx context.Context, old live) error {
	if !old.exists() {
		return nil
	}
	// From here on there is no way back: half of a copy must never be started.
	if err := s.zfs.SetProperties(ctx, s.cfg.old(), map[string]string{messages.PropDiscarded: string(s.journal().ID)}); err != nil {
		return err
	}
	return s.destroy(ctx, s.cfg.old())
}

// notDiscarded goes back as long as nothing of the copy is gone. What is refused or
// busy will be so again; another failure may pass.
func (s *Service) notDiscarded(ctx context.Context, before live, cause error) (resync.Event, error) {
	if ctx.Err() != nil || before.tree[0].Marks[messages.PropDiscarded] != "" {
		return "", fmt.Errorf("discard: %w", cause)
	}
	now, err := s.readTree(ctx, s.cfg.old())
	if err != nil || len(now.tree) < len(before.tree) {
		return "", fmt.Errorf("discard: %w", errors.Join(cause, err))
	}
	if err := s.zfs.InheritProperty(ctx, s.cfg.old(), messages.PropDiscarded); err != nil {
		return "", fmt.Errorf("discard: %w", errors.Join(cause, err))
	}
	return s.oldStays(ctx, before, cause)
}

// oldStays goes back to a copy that may not go, or did not, and is whole.
func (s *Service) oldStays(ctx context.Context, before live, cause error) (resync.Event, error) {
	if ctx.Err() != nil || before.tree[0].Marks[messages.PropDiscarded] != "" {
		return "", fmt.Errorf("discard: %w", cause)
	}
	if errors.Is(cause, messages.ErrRefused) || errors.Is(cause, messages.ErrBusy) || errors.Is(cause, messages.ErrNotOurs) {
		remedy, _ := remedyOf(cause)
		cause = incurable(cause, cmp.Or(remedy, fmt.Sprintf("find out what keeps %s, then: %s", s.cfg.Dataset, s.triggerCommand())))
	}
	return s.discardsNothing(ctx, fmt.Errorf("discard: %w", cause)), nil
}

// discardBranches is for a seed: the lineage's other branches are as large as the
// database, and no base of anything that the publisher can send.
func (s *Service) discardBranches(ctx context.Context) error {
	m, err := s.manifest(ctx)
	if err != nil {
		return err
	}
	pp, err := s.passPlan(ctx, m)
	if err != nil {
		return err
	}
	useless, err := s.useless(ctx, pp)
	if err != nil {
		return err
	}
	for _, d := range useless {
		name := d.Name
		err := s.destroy(ctx, name)
		if errors.Is(err, messages.ErrBusy) {
			continue // a copy that was kept for the operator is a clone of it
		}
		if err != nil {
			return err
		}
		s.log.Warn().Str("dataset", string(name)).Msg("received data destroyed for room: the publisher has no base in common with it")
	}
	return nil
}

// useless are the branches that a seed does without, where the mode lets them go.
func (s *Service) useless(ctx context.Context, pp plan.PassPlan) (out []messages.DatasetInfo, err error) {
	if pp.Kind != messages.PassSeed || s.cfg.Mode != ModeDiscardBroken {
		return nil, nil
	}
	tree, err := s.zfs.List(ctx, s.cfg.Lineage)
	for _, d := range tree {
		if name, ok := s.topBranch(d.Name); ok && name != pp.Branch && !s.clonedInto(pp.Branch, d.Name, tree) {
			out = append(out, d)
		}
	}
	return out, err
}

// clonedInto reports whether something in the branch is a clone of something in top.
func (s *Service) clonedInto(branch messages.RelName, top messages.Dataset, tree []messages.DatasetInfo) bool {
	return slices.ContainsFunc(tree, func(d messages.DatasetInfo) bool {
		_, in := d.Name.Rel(s.cfg.Lineage.Child(branch))
		_, of := d.Origin.Dataset().Rel(top)
		return in && of
	})
}

// awaitRoom waits until what was destroyed is free: OpenZFS frees behind the
// command (zpoolprops(7), freeing).
func (s *Service) awaitRoom(ctx context.Context) error {
	const pause, quiet = 2 * time.Second, 3
	last, unchanged := uint64(0), 0
	for unchanged < quiet {
		room, err := s.room(ctx)
		if err != nil {
			return err
		}
		if room > last {
			last, unchanged = room, 0
		} else {
			unchanged++
		}
		if err := s.pause(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}
