package secondary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// mostPromotions bounds the rounds of takeOver: each one shortens the chain of
// clones behind the live copy by one.
const mostPromotions = 16

// tendIfProven leaves one branch in the lineage, which owns the history of the live
// copy. Before a copy is proven, the way back goes through the old ones.
func (s *Service) tendIfProven(ctx context.Context) error {
	if !s.tends() {
		return nil
	}
	if err := s.takeOver(ctx); err != nil {
		return fmt.Errorf("tend the lineage: %w", err)
	}
	k, err := s.kin(ctx)
	if err != nil {
		return fmt.Errorf("tend the lineage: %w", err)
	}
	var errs []error
	for _, branch := range plan.Tend(k).Destroy {
		d := s.cfg.Lineage.Child(branch)
		err := s.destroy(ctx, d)
		if errors.Is(err, messages.ErrBusy) {
			continue // somebody's clone; it is asked again
		}
		if err == nil {
			s.log.Info().Str("dataset", string(d)).Msg("branch removed: no live copy needs it")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tends: one that waits for its next try, or for its operator, goes on where it was.
func (s *Service) tends() bool {
	j := s.journal()
	return j.Proven && j.Phase == messages.PhaseIdle
}

// takeOver gives the live copy's branch the history that it shares with older
// branches and with copies that were set aside.
func (s *Service) takeOver(ctx context.Context) error {
	for range mostPromotions {
		k, err := s.kin(ctx)
		if err != nil {
			return err
		}
		u := plan.Tend(k)
		if len(u.Promote) == 0 {
			return nil
		}
		for _, b := range u.Drop {
			if err := s.zfs.DestroyBookmark(ctx, b); err != nil {
				return err
			}
		}
		for _, d := range u.Promote {
			if err := s.zfs.Promote(ctx, d); err != nil {
				return err
			}
			s.log.Info().Str("dataset", string(d)).Msg("branch took over what it shares with an older copy")
		}
	}
	return nil
}

// kin is the lineage with what it descends from.
func (s *Service) kin(ctx context.Context) (plan.Kin, error) {
	k := plan.Kin{Root: s.cfg.Lineage, Live: s.cfg.Dataset}
	l, err := s.readTree(ctx, s.cfg.Dataset)
	if err != nil {
		return k, err
	}
	if l.exists() {
		k.Origin = l.tree[0].Origin
	}
	tree, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return k, err
	}
	if k.Histories, err = s.zfs.Histories(ctx, s.cfg.Lineage); err != nil {
		return k, err
	}
	for _, d := range tree {
		if d.Name == s.cfg.Lineage {
			k.GoesOn = s.goesOn(d)
			continue
		}
		k.Datasets = append(k.Datasets, d)
		origin := d.Origin.Dataset()
		if _, known := k.Histories[origin]; known || origin == "" {
			continue
		}
		h, err := s.zfs.Histories(ctx, origin)
		if err != nil {
			return k, err
		}
		k.Histories[origin] = h[origin]
	}
	return k, nil
}

// setFree renames the previous copy to what its operator will find, and lets go of
// its snapshots: one zfs destroy -r is all it takes to be rid of it.
func (s *Service) setFree(ctx context.Context, kept messages.Dataset) error {
	if err := s.letGo(ctx, s.cfg.old()); err != nil {
		return err
	}
	return s.zfs.Rename(ctx, s.cfg.old(), kept)
}

// destroy is for a tree that this node may have published from, or that took over
// what it had: DestroyDataset rightly refuses what is held.
func (s *Service) destroy(ctx context.Context, root messages.Dataset) error {
	if err := s.letGo(ctx, root); err != nil && !errors.Is(err, messages.ErrNotFound) {
		return err
	}
	return s.zfs.DestroyDataset(ctx, root)
}

// letGo releases what the publisher holds, the datasets that do not travel included.
// Nobody else does: the publisher looks after the live dataset only.
func (s *Service) letGo(ctx context.Context, root messages.Dataset) error {
	histories, err := s.zfs.Histories(ctx, root)
	if err != nil {
		return err
	}
	for _, h := range histories {
		for _, v := range h {
			if _, ours := messages.SnapshotIDOf(v.Name); !ours || v.Bookmark {
				continue
			}
			if err := s.zfs.Release(ctx, v.Name, messages.HoldTag); err != nil {
				return err
			}
		}
	}
	return nil
}

// pruneLineage keeps the newest passes and every clone's origin, and bookmarks of
// older ones.
func (s *Service) pruneLineage(ctx context.Context) error {
	destroy, bookmark, err := s.surplus(ctx)
	if err != nil {
		return err
	}
	var errs []error
	unmarked := map[messages.SnapshotName]bool{} // a base that only the snapshot holds
	for _, old := range bookmark {
		if err := s.zfs.Bookmark(ctx, old.Name, old.Name.Short()); err != nil {
			errs, unmarked[old.Name] = append(errs, err), true
		}
	}
	for _, old := range destroy {
		if unmarked[old.Name] {
			continue
		}
		// Busy is an origin of somebody else's clone: it goes when the clone is gone.
		if err := s.discard(ctx, old); err != nil && !errors.Is(err, messages.ErrBusy) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// surplus are the versions in the lineage that may go, and those of them of which a
// bookmark is to stay.
func (s *Service) surplus(ctx context.Context) (destroy, bookmark []messages.Snapshot, err error) {
	histories, err := s.zfs.Histories(ctx, s.cfg.Lineage)
	if err != nil {
		return nil, nil, err
	}
	origins, err := s.origins(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range histories {
		keep := plan.Keep{Snapshots: s.cfg.KeepPasses, Bookmarks: s.cfg.KeepBases, InUse: map[messages.GUID]bool{}}
		for _, v := range h {
			keep.InUse[v.GUID] = keep.InUse[v.GUID] || origins[v.Name]
		}
		gone, points := plan.Retain(h, keep)
		destroy, bookmark = append(destroy, gone...), append(bookmark, points...)
	}
	return destroy, bookmark, nil
}

// origins are those of our clones. That of a live copy that was gone back to is older
// than the passes of the resyncs that failed since.
func (s *Service) origins(ctx context.Context) (map[messages.SnapshotName]bool, error) {
	out := map[messages.SnapshotName]bool{}
	for _, root := range []messages.Dataset{s.cfg.Dataset.Parent(), s.cfg.Lineage} {
		tree, err := s.zfs.Survey(ctx, root)
		if err != nil {
			return nil, fmt.Errorf("list clones in %s: %w", root, err)
		}
		for _, d := range tree {
			out[d.Origin] = true
		}
	}
	return out, nil
}

// discard destroys a version in the lineage. One that this node published itself,
// and that a branch took over, is held.
func (s *Service) discard(ctx context.Context, v messages.Snapshot) error {
	if v.Bookmark {
		return s.zfs.DestroyBookmark(ctx, v.Name)
	}
	if err := s.zfs.Release(ctx, v.Name, messages.HoldTag); err != nil {
		return err
	}
	return s.zfs.DestroySnapshot(ctx, v.Name)
}

// ownHistories are the versions of the live tree: those of a node that published.
func (s *Service) ownHistories(ctx context.Context) (map[messages.RelName]messages.History, error) {
	histories, err := s.zfs.Histories(ctx, s.cfg.Dataset)
	if errors.Is(err, messages.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots of the live dataset: %w", err)
	}
	out := map[messages.RelName]messages.History{}
	for d, h := range histories {
		if rel, ok := d.Rel(s.cfg.Dataset); ok {
			out[rel] = h
		}
	}
	return out, nil
}

// noteBases tells, by the presence record, what this node can receive an increment
// on. It is no more than advice to the publisher.
func (s *Service) noteBases(ctx context.Context) {
	lineage, err := s.zfs.Histories(ctx, s.cfg.Lineage)
	if err != nil {
		s.log.Debug().Err(err).Msg("bases not listed")
		return
	}
	own, err := s.ownHistories(ctx)
	if err != nil {
		s.log.Debug().Err(err).Msg("bases not listed")
		return
	}
	all := slices.Clone(own[""])
	for d, h := range lineage {
		if d.Parent() == s.cfg.Lineage {
			all = append(all, h...)
		}
	}
	all.Sort()
	var bases []messages.SnapshotID
	for _, v := range slices.Backward(all) {
		id, ours := messages.SnapshotIDOf(v.Name)
		if ours && !v.Bookmark && len(bases) < messages.MaxBases && !slices.Contains(bases, id) {
			bases = append(bases, id)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bases = bases
}

// ownManifest is of the newest complete snapshot that was published from a live
// tree, nil when there is none.
func (s *Service) ownManifest(ctx context.Context, root messages.Dataset) (*messages.Manifest, error) {
	props, err := s.zfs.SnapshotProperties(ctx, root, messages.PropState, messages.PropManifest)
	if err != nil {
		return nil, fmt.Errorf("read the snapshots of %s: %w", root, err)
	}
	var newest *messages.Manifest
	for _, p := range props {
		m := &messages.Manifest{}
		if p[messages.PropState] != messages.StateComplete || messages.UnpackProperty(p[messages.PropManifest], m) != nil {
			continue
		}
		if newest == nil || m.CreatedAt.After(newest.CreatedAt) {
			newest = m
		}
	}
	return newest, nil
}
