package primary

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// SnapshotUpkeep gives up this node's own snapshots where there is no room, while
// nobody else looks after them: NATS may be away, or another node publishes, and a
// snapshot pins what is overwritten on a standby as well (I-9). It touches nothing but
// what the live dataset has the publisher's mark on.
type SnapshotUpkeep struct {
	cfg     Config
	zfs     ZFS
	now     Clock
	log     zerolog.Logger
	service atomic.Pointer[Service]
}

// NewSnapshotUpkeep is for a process whose service is not there yet, and may not be for
// as long as NATS is away.
func NewSnapshotUpkeep(cfg Config, zfs ZFS, now Clock, log zerolog.Logger) *SnapshotUpkeep {
	return &SnapshotUpkeep{cfg: cfg, zfs: zfs, now: now, log: log}
}

// Heed makes it stand back while svc publishes, and keep what svc's uploads send.
func (u *SnapshotUpkeep) Heed(svc *Service) { u.service.Store(svc) }

// Run looks every minute until ctx is done.
func (u *SnapshotUpkeep) Run(ctx context.Context) error {
	return minutely(ctx, u.once, &complaint{log: u.log, about: "room for snapshots looked for"})
}

func (u *SnapshotUpkeep) once(ctx context.Context) error {
	svc := u.service.Load()
	if svc != nil {
		svc.cat.pruning.Lock()
		defer svc.cat.pruning.Unlock()
		if open, _ := svc.gate.state(); open {
			return nil // its own upkeep knows more
		}
	}
	cat := &catalogue{cfg: u.cfg, zfs: u.zfs, log: u.log}
	err := cat.read(ctx)
	if err == nil {
		err = cat.refresh(ctx)
	}
	if errors.Is(err, messages.ErrNotFound) {
		return nil // a standby that was never seeded
	}
	before := cat.snapshots()
	if err != nil || before == 0 {
		return err
	}
	tree, err := u.zfs.List(ctx, u.cfg.Dataset)
	if err != nil {
		return err
	}
	err = room(ctx, u.cfg, u.zfs, tree, cat.stays)
	why, cramped := errors.AsType[*crampedError](err)
	if !cramped {
		return err
	}
	keep, err := u.keep(ctx, cat, svc)
	if err != nil {
		return fmt.Errorf("%w, and no snapshot is given up: %w", why, err)
	}
	err = cat.prune(ctx, keep)
	if n := before - cat.snapshots(); n > 0 {
		u.log.Warn().Int("snapshots", n).Err(why).Msg("snapshots given up: there is no room for what they pin")
	}
	return err
}

// keep leaves what is sent, what is not the publisher's, and what the secondary sidecar
// of this node has begun to go on from, with the same snapshot of the other datasets.
func (u *SnapshotUpkeep) keep(ctx context.Context, cat *catalogue, svc *Service) (keeps, error) {
	origins, err := u.origins(ctx)
	if err != nil {
		return nil, err
	}
	published, err := cat.published(ctx)
	if err != nil {
		return nil, err
	}
	known := &standbys{cfg: u.cfg, zfs: u.zfs, now: u.now, log: u.log}
	if err := known.load(ctx); err != nil {
		return nil, err
	}
	return func(name messages.RelName, h messages.History) plan.Keep {
		bases, _ := known.wanted(h)
		use := map[messages.GUID]bool{}
		if svc != nil {
			use = svc.inUse(h)
		}
		for _, v := range h {
			id, _ := messages.SnapshotIDOf(v.Name)
			if !v.Bookmark && (origins[id] || !published[v.Name]) {
				use[v.GUID] = true
			}
		}
		// Bookmarks pin nothing, and can wait for who knows what they are for.
		return plan.Keep{Cramped: true, Stays: cat.stays(name), Bookmarks: len(h), Bases: bases, InUse: use}
	}, nil
}

// origins are the snapshots of the live dataset that the pool has clones of: the secondary
// sidecar received something on them. In the middle of a resync it may be about to, and
// an error says so.
func (u *SnapshotUpkeep) origins(ctx context.Context) (map[messages.SnapshotID]bool, error) {
	// Its lineage is wherever its own PGRESYNC_LINEAGE says.
	pool, err := u.zfs.Survey(ctx, messages.Dataset(u.cfg.Dataset.Pool()))
	if err != nil {
		return nil, err
	}
	ids := map[messages.SnapshotID]bool{}
	for _, d := range pool {
		if err := u.mayGiveUp(d); err != nil {
			return nil, err
		}
		if _, live := d.Origin.Dataset().Rel(u.cfg.Dataset); live {
			if id, ours := messages.SnapshotIDOf(d.Origin); ours {
				ids[id] = true
			}
		}
	}
	return ids, nil
}

// mayGiveUp refuses while d is the lineage of a resync that is under way. One that waits
// for its operator may do so for months; and a lineage may have been left behind.
func (u *SnapshotUpkeep) mayGiveUp(d messages.DatasetInfo) error {
	packed := d.Marks[messages.PropJournal]
	if packed == "" || d.Marks[messages.PropCluster] != string(u.cfg.Cluster) {
		return nil
	}
	var j resync.Journal
	if err := messages.UnpackProperty(packed, &j); err != nil {
		return fmt.Errorf("journal on %s: %w", d.Name, err)
	}
	left := u.now().Sub(j.StartedAt) > u.cfg.StandbyExpiry && u.now().Sub(j.Due) > u.cfg.StandbyExpiry
	if left || j.Phase == messages.PhaseIdle || j.Phase == messages.PhaseNeedsOperator {
		return nil
	}
	return fmt.Errorf("%w: the secondary sidecar of this node is in the middle of resync %s, phase %s", messages.ErrBusy, j.ID, j.Phase)
}
