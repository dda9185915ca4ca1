package primary

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// bracket takes one snapshot of the tree inside PostgreSQL's backup mode.
type bracket struct {
	cfg Config
	db  Database
	zfs ZFS
	// on is the lease's revision, or why this node does not publish.
	on  func() (uint64, error)
	now Clock
	// working is the snapshot that is not in the catalogue yet, "" for none: it is in use.
	working atomic.Value
}

// inWork is the snapshot that is being made, and not in the catalogue yet.
func (b *bracket) inWork() messages.SnapshotID {
	id, _ := b.working.Load().(messages.SnapshotID)
	return id
}

// take returns the manifest of a complete snapshot. When it fails, nothing is
// left: backup mode is closed and the snapshots are gone.
func (b *bracket) take(ctx context.Context) (*messages.Manifest, error) {
	lease, err := b.on()
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	l, err := b.gates(ctx)
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	m := &messages.Manifest{
		V: messages.Version, ID: messages.NewSnapshotID(b.now()), Cluster: b.cfg.Cluster, Node: b.cfg.Node,
		CreatedAt: b.now().UTC(), Lease: lease, Layout: l.Layout, Datasets: l.datasets, Flags: l.flags,
	}
	b.working.Store(m.ID)
	if err := b.fill(ctx, m); err != nil {
		b.discard(ctx, m.ID)
		return nil, fmt.Errorf("take snapshot %s of %s: %w", m.ID, b.cfg.Dataset, err)
	}
	return m, nil
}

// gates are the checks before anything is touched.
func (b *bracket) gates(ctx context.Context) (layout, error) {
	tree, err := b.zfs.List(ctx, b.cfg.Dataset)
	if err != nil {
		return layout{}, err
	}
	paths, err := b.db.Paths(ctx)
	if err != nil {
		return layout{}, err
	}
	l, err := resolveLayout(b.cfg, tree, paths)
	if err != nil {
		return layout{}, err
	}
	return l, room(ctx, b.cfg, b.zfs, tree, l.stays)
}

func (b *bracket) fill(ctx context.Context, m *messages.Manifest) error {
	if err := b.describe(ctx, m); err != nil {
		return err
	}
	props := map[string]string{messages.PropID: string(m.ID), messages.PropState: messages.StateBracketing}
	backup, err := b.db.Backup(ctx, "pgresync "+string(m.ID), func(ctx context.Context) error {
		return b.zfs.SnapshotTree(ctx, b.cfg.Dataset, m.ID.ShortName(), props)
	})
	if err != nil {
		return err
	}
	m.StartLSN, m.StopLSN = backup.StartLSN, backup.StopLSN
	m.BackupLabel = messages.NewBlob(backup.Label)
	if len(backup.TablespaceMap) > 0 {
		tm := messages.NewBlob(backup.TablespaceMap)
		m.TablespaceMap = &tm
	}
	if err := b.identify(ctx, m); err != nil {
		return err
	}
	// Another node may have been promoted while the checkpoint took its time.
	if _, err := b.on(); err != nil {
		return err
	}
	return b.complete(ctx, m)
}

// describe adds what PostgreSQL says of itself.
func (b *bracket) describe(ctx context.Context, m *messages.Manifest) error {
	id, err := b.db.Identity(ctx)
	if err != nil {
		return err
	}
	// A standby has a backup mode, too.
	if id.Role != messages.RolePrimary {
		return fmt.Errorf("%w: PostgreSQL is in recovery", messages.ErrNotPrimary)
	}
	m.SystemID, m.PGVersion, m.Timeline = id.SystemID, id.Version, id.Timeline
	if m.Settings, err = b.db.StandbySettings(ctx); err != nil {
		return err
	}
	wal, err := b.db.WAL(ctx)
	if err != nil {
		return err
	}
	m.WALSegmentSize = wal.SegmentSize
	return nil
}

// identify adds the GUIDs that ZFS gave the snapshots.
func (b *bracket) identify(ctx context.Context, m *messages.Manifest) error {
	histories, err := b.zfs.Histories(ctx, b.cfg.Dataset)
	if err != nil {
		return err
	}
	for i := range m.Datasets {
		d := &m.Datasets[i]
		name := b.cfg.Dataset.Child(d.Name).Snapshot(m.ID.ShortName())
		for _, s := range histories[name.Dataset()] {
			if s.Name == name {
				d.GUID, d.CreateTXG = s.GUID, s.CreateTXG
			}
		}
		if d.GUID == 0 {
			return fmt.Errorf("snapshot %s: %w right after it was made", name, messages.ErrNotFound)
		}
		// One ioctl, one transaction group: anything else is not atomic.
		if d.CreateTXG != m.Datasets[0].CreateTXG {
			return fmt.Errorf("snapshot %s: it is of another transaction group than its parent", name)
		}
	}
	return b.weigh(ctx, m)
}

// weigh reads the sizes once the snapshots are there: what was written right before
// is counted only when its transaction group is on disk, as snapshots are.
func (b *bracket) weigh(ctx context.Context, m *messages.Manifest) error {
	tree, err := b.zfs.List(ctx, b.cfg.Dataset)
	if err != nil {
		return err
	}
	sizes := map[messages.Dataset]uint64{}
	for _, d := range tree {
		sizes[d.Name] = d.Referenced
	}
	for i := range m.Datasets {
		m.Datasets[i].Referenced = sizes[b.cfg.Dataset.Child(m.Datasets[i].Name)]
	}
	return nil
}

// complete makes the snapshot last: holds and bookmarks first, the word
// "complete" as the very last.
func (b *bracket) complete(ctx context.Context, m *messages.Manifest) error {
	for _, d := range m.Datasets {
		name := b.cfg.Dataset.Child(d.Name).Snapshot(m.ID.ShortName())
		if !d.Travels {
			// It would pin segments of WAL that are used again, for nobody. What is busy
			// now goes when the rest is pruned.
			if err := b.zfs.DestroySnapshot(ctx, name); err != nil && !errors.Is(err, messages.ErrBusy) {
				return err
			}
			continue
		}
		if err := b.zfs.Hold(ctx, name, messages.HoldTag); err != nil {
			return err
		}
		if err := b.zfs.Bookmark(ctx, name, m.ID.ShortName()); err != nil {
			return err
		}
	}
	packed, err := messages.PackProperty(m)
	if err != nil {
		return err
	}
	return b.zfs.SetSnapshotProperties(ctx, b.cfg.Dataset.Snapshot(m.ID.ShortName()), map[string]string{
		messages.PropManifest: packed, messages.PropState: messages.StateComplete,
	})
}

// discard removes what a failed bracket left. It must run even when the caller
// was cancelled; what it cannot remove, the next start finds by its state.
func (b *bracket) discard(ctx context.Context, id messages.SnapshotID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = removeSnapshot(ctx, b.zfs, b.cfg.Dataset, id)
}

// removeSnapshot destroys the snapshots and bookmarks of one id in the tree.
func removeSnapshot(ctx context.Context, zfs ZFS, root messages.Dataset, id messages.SnapshotID) error {
	histories, err := zfs.Histories(ctx, root)
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range histories {
		for _, s := range h {
			if got, ok := messages.SnapshotIDOf(s.Name); !ok || got != id {
				continue
			}
			errs = append(errs, remove(ctx, zfs, s))
		}
	}
	return errors.Join(errs...)
}

func remove(ctx context.Context, zfs Pruner, s messages.Snapshot) error {
	if s.Bookmark {
		return zfs.DestroyBookmark(ctx, s.Name)
	}
	if err := zfs.Release(ctx, s.Name, messages.HoldTag); err != nil {
		return err
	}
	return zfs.DestroySnapshot(ctx, s.Name)
}
