package secondary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// tidy runs while the machine is idle: what a finished resync left is disposed of
// or set aside, the lineage is pruned, and slots of earlier copies are dropped.
// All of it is safe to repeat, and none of it is urgent.
func (s *Service) tidy(ctx context.Context) error {
	// A branch can go when the copies that were made of it have gone.
	err := errors.Join(s.disposeOld(ctx), s.disposeNext(ctx), s.disposeLocal(ctx), s.tendIfProven(ctx), s.pruneLineage(ctx), s.dropSlots(ctx), s.listKept(ctx))
	s.noteBases(ctx)
	return err
}

// tidyEvery is the time between two rounds of housekeeping. The next one comes after
// tidySoon when one failed, or left something for the operator: what an operator lets
// go of may be what a branch had to stay for.
const (
	tidyEvery = 10 * time.Minute
	tidySoon  = time.Minute
)

func (s *Service) tidyWhenDue(ctx context.Context) {
	if s.now().Before(s.tidyAt) {
		return
	}
	err := s.tidy(ctx)
	if ctx.Err() != nil {
		return
	}
	s.tidyAt = s.now().Add(tidyEvery)
	if err != nil || s.operatorIsAwaited() {
		s.tidyAt = s.now().Add(tidySoon)
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("housekeeping")
	}
}

// disposeOld ends the previous copy's life, now that the new one is proven (I-3).
func (s *Service) disposeOld(ctx context.Context) error {
	l, err := s.readTree(ctx, s.cfg.old())
	if err != nil || !l.exists() {
		return err
	}
	j := s.journal()
	if !j.Proven {
		if live, err := s.readLive(ctx); err != nil || live.seeded {
			return err // it waits for the one who asked for the live copy
		}
		return fmt.Errorf("dataset %s is there although no resync was proven; it is left for the operator", s.cfg.old())
	}
	return s.retireOld(ctx, l)
}

// retireOld lets the previous copy go, or sets it aside for the operator. The caller
// knows that the copy after it streamed.
func (s *Service) retireOld(ctx context.Context, l live) error {
	j := s.journal()
	// A boot in the middle of the switch may have mounted it.
	if err := s.unmountAll(ctx, l.tree); err != nil {
		return fmt.Errorf("remove the previous copy: %w", err)
	}
	// What it has in common with the new copy is the branch's from now on.
	if err := s.takeOver(ctx); err != nil {
		return fmt.Errorf("remove the previous copy: %w", err)
	}
	marks := l.tree[0].Marks
	switch {
	case marks[messages.PropDiverged] != "":
		return s.setFree(ctx, s.cfg.kept("diverged", j.ID))
	case marks[messages.PropReplaced] != "" && !s.cfg.Adopt:
		return s.setFree(ctx, s.cfg.kept("replaced", j.ID))
	case marks[messages.PropReplaced] != "":
		// PGRESYNC_ADOPT is the operator's word that it may go.
		if err := s.adopt(ctx, l); err != nil {
			return err
		}
	}
	err := s.destroy(ctx, s.cfg.old())
	if errors.Is(err, messages.ErrNotOurs) {
		// Somebody else's snapshots are in it (a periodic snapshot tool's, say).
		return s.keepAside(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("remove the previous copy: %w", err)
	}
	s.log.Info().Str("dataset", string(s.cfg.old())).Msg("previous copy removed")
	return nil
}

// adopt marks a copy that was here before us as ours, the top last: whoever finds
// its mark finds the whole tree marked.
func (s *Service) adopt(ctx context.Context, l live) error {
	for _, d := range slices.Backward(l.tree) {
		if err := s.zfs.SetProperties(ctx, d.Name, map[string]string{messages.PropCluster: string(s.cfg.Cluster)}); err != nil {
			return err
		}
	}
	return nil
}

// vacateOld makes the name of a previous copy free, which is needed again: a trigger
// may come before the housekeeping. After a resync that could be neither proven nor
// taken back, because its copy was promoted or the way back was given up, two copies
// are there; what is live is the one to go back to from now on, and the other waits
// for its operator.
func (s *Service) vacateOld(ctx context.Context, l live) error {
	if s.journal().Proven {
		return s.disposeOld(ctx)
	}
	if l.seeded {
		return nil // which of the two stays is decided at the switch, by pg_control
	}
	old, err := s.readTree(ctx, s.cfg.old())
	if err != nil || !old.exists() || !l.exists() || l.keptIn != "" {
		return err
	}
	if err := s.freeOld(ctx); err != nil {
		return err
	}
	if err := s.markReplaced(ctx, s.cfg.old()); err != nil {
		return err
	}
	return s.setFree(ctx, s.cfg.kept("before", s.journal().ID))
}

func (s *Service) markReplaced(ctx context.Context, d messages.Dataset) error {
	return s.zfs.SetProperties(ctx, d, map[string]string{messages.PropReplaced: s.now().UTC().Format(time.RFC3339)})
}

// keepAside leaves the previous copy to the operator, under a name that is not
// needed again.
func (s *Service) keepAside(ctx context.Context, why error) error {
	kept := s.cfg.kept("replaced", s.journal().ID)
	s.log.Warn().Err(why).Str("dataset", string(kept)).Msg("previous copy kept: it is not all ours")
	if err := s.markReplaced(ctx, s.cfg.old()); err != nil {
		return err
	}
	return s.setFree(ctx, kept)
}

// destroyOrKeep is for a tree that we made and that is in the way: what somebody else
// has put into it is his (I-2), and the name is needed. One resync may come here more
// than once, so that its id would be no name.
func (s *Service) destroyOrKeep(ctx context.Context, root messages.Dataset) error {
	err := s.zfs.DestroyDataset(ctx, root)
	if !errors.Is(err, messages.ErrNotOurs) {
		return err
	}
	tree, listErr := s.zfs.List(ctx, root)
	if listErr != nil || tree[0].Marks[messages.PropCluster] == "" {
		return errors.Join(err, listErr)
	}
	kept := s.cfg.kept("replaced", messages.NewResyncID(s.now()))
	s.log.Warn().Err(err).Str("dataset", string(kept)).
		Msg("leftover copy kept: it is not all ours. What makes snapshots of every dataset should leave ….pgresync-… out; com.sun:auto-snapshot goes over from the live dataset")
	if err := s.markReplaced(ctx, root); err != nil {
		return err
	}
	return s.zfs.Rename(ctx, root, kept)
}

func (s *Service) disposeNext(ctx context.Context) error {
	if err := s.removeNext(ctx); err != nil {
		return fmt.Errorf("remove a leftover copy: %w", err)
	}
	return nil
}

// dropSlots asks the primary to drop the slots of earlier copies of this node.
func (s *Service) dropSlots(ctx context.Context) error {
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	switch {
	case l.resync == "":
		return s.releaseSlot(ctx)
	case l.seeded && !s.journal().Proven:
		return s.releaseSlot(ctx) // of one that was tried since
	}
	if _, err = s.primary.Slot(ctx, l.resync, messages.SlotKeep); err != nil || !l.seeded {
		return err
	}
	return s.releaseBridge(ctx, l.resync)
}

// releaseSlot drops the slot of a resync that made no copy.
func (s *Service) releaseSlot(ctx context.Context) error {
	j := s.journal()
	if j.ID == "" || s.released == j.ID {
		return nil
	}
	l, err := s.readLive(ctx)
	if err != nil || l.resync == j.ID {
		return err
	}
	if _, err := s.primary.Slot(ctx, j.ID, messages.SlotRelease); err != nil {
		return fmt.Errorf("release the slot of resync %s: %w", j.ID, err)
	}
	s.released = j.ID
	return nil
}

// listKept finds what waits for the operator.
func (s *Service) listKept(ctx context.Context) error {
	parent := s.cfg.Dataset.Parent()
	tree, err := s.zfs.Survey(ctx, parent)
	if err != nil {
		return err
	}
	var kept []messages.Dataset
	for _, d := range tree {
		aside := strings.HasPrefix(string(d.Name), string(s.cfg.Dataset)+".pgresync-")
		if aside && d.Name.Parent() == parent && (d.Marks[messages.PropDiverged] != "" || d.Marks[messages.PropReplaced] != "") {
			kept = append(kept, d.Name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = kept
	return nil
}

// operatorIsAwaited reports whether the last round of housekeeping saw something that
// waits for the operator.
func (s *Service) operatorIsAwaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept) > 0
}
