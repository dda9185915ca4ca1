package secondary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// openLineage makes the lineage root when it is not there, and reads the journal.
// Its parents are made as needed; one that is there without our mark is used as it
// is, the root itself must be ours.
func (s *Service) openLineage(ctx context.Context) (resync.Journal, error) {
	if s.cfg.Dataset.Parent() == "" {
		return resync.Journal{}, fmt.Errorf("live dataset %s: %w: it is the root of a pool and cannot be replaced by a rename; use a dataset below it",
			s.cfg.Dataset, messages.ErrRefused)
	}
	if s.cfg.Lineage.Pool() != s.cfg.Dataset.Pool() {
		return resync.Journal{}, fmt.Errorf("lineage %s: %w: it must be in the pool of the live dataset %s, because clones cannot leave their pool",
			s.cfg.Lineage, messages.ErrRefused, s.cfg.Dataset)
	}
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if errors.Is(err, messages.ErrNotFound) {
		return resync.NewJournal(), s.createLineage(ctx, s.cfg.Lineage)
	}
	if err != nil {
		return resync.Journal{}, fmt.Errorf("open lineage: %w", err)
	}
	marks := info[0].Marks
	if marks[messages.PropCluster] != string(s.cfg.Cluster) {
		return resync.Journal{}, fmt.Errorf("lineage %s: %w for cluster %s (it says %q); name another dataset in PGRESYNC_LINEAGE",
			s.cfg.Lineage, messages.ErrNotOurs, s.cfg.Cluster, marks[messages.PropCluster])
	}
	return readJournal(marks)
}

func readJournal(marks map[string]string) (resync.Journal, error) {
	packed, ok := marks[messages.PropJournal]
	if !ok {
		return resync.NewJournal(), nil
	}
	var j resync.Journal
	if err := messages.UnpackProperty(packed, &j); err != nil {
		return resync.Journal{}, fmt.Errorf("read journal: %w; look at the datasets, then clear it with `zfs inherit %s` on the lineage root",
			err, messages.PropJournal)
	}
	return j, nil
}

// createLineage makes d with our mark, and its parents without one.
func (s *Service) createLineage(ctx context.Context, d messages.Dataset) error {
	var missing []messages.Dataset
	for p := d.Parent(); p.Parent() != ""; p = p.Parent() {
		if _, err := s.zfs.Survey(ctx, p); err == nil {
			break
		} else if !errors.Is(err, messages.ErrNotFound) {
			return fmt.Errorf("open lineage: %w", err)
		}
		missing = append(missing, p)
	}
	for _, p := range slices.Backward(missing) {
		if err := s.zfs.Create(ctx, p, map[string]string{"canmount": "off", "mountpoint": "none"}); err != nil {
			return fmt.Errorf("open lineage: %w", err)
		}
	}
	props := s.lineageProperties()
	props["canmount"] = "off"
	return s.zfs.Create(ctx, d, props)
}

// saveJournal writes j before anything is done about it.
func (s *Service) saveJournal(ctx context.Context, j resync.Journal) error {
	packed, err := messages.PackProperty(&j)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := s.zfs.SetProperties(ctx, s.cfg.Lineage, map[string]string{messages.PropJournal: packed}); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// saveManifest keeps the manifest of the running pass beside the journal.
func (s *Service) saveManifest(ctx context.Context, m *messages.Manifest) error {
	packed, err := messages.PackProperty(m)
	if err != nil {
		return err
	}
	return s.zfs.SetProperties(ctx, s.cfg.Lineage, map[string]string{messages.PropManifest: packed})
}

// manifest is the running pass's.
func (s *Service) manifest(ctx context.Context) (*messages.Manifest, error) {
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return nil, err
	}
	m := &messages.Manifest{}
	if err := messages.UnpackProperty(info[0].Marks[messages.PropManifest], m); err != nil {
		return nil, fmt.Errorf("manifest on %s: %w", s.cfg.Lineage, err)
	}
	if id := s.journal().Snapshot; m.ID != id {
		return nil, fmt.Errorf("manifest on %s is of snapshot %s, the journal says %s", s.cfg.Lineage, m.ID, id)
	}
	return m, nil
}
