package primary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// upkeepEvery is the time between two rounds of housekeeping.
const upkeepEvery = time.Minute

// upkeep bounds what the publisher keeps: bases of standbys that are gone,
// snapshots, and slots that nobody uses. Every step can be repeated.
func (s *Service) upkeep(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	idle := map[string]time.Time{}
	for {
		var err error
		if idle, err = s.upkeepOnce(ctx, idle); err != nil && ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("housekeeping")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Service) upkeepOnce(ctx context.Context, idle map[string]time.Time) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, upkeepEvery)
	defer cancel()
	// A lost update of who has what only means that it is kept a minute longer.
	nodes, err := s.events.Nodes(ctx)
	if err == nil {
		err = s.standbys.heard(ctx, nodes)
	}
	idle, dropErr := s.dropAbandoned(ctx, idle)
	return idle, errors.Join(err, s.cat.refresh(ctx), s.prune(ctx), dropErr)
}

// dropAbandoned ends what slots hold back in the name of standbys that do not come:
// WAL, and by hot_standby_feedback the horizon of vacuum (I-9).
func (s *Service) dropAbandoned(ctx context.Context, idle map[string]time.Time) (map[string]time.Time, error) {
	slots, err := s.slots.SlotUses(ctx)
	if err != nil {
		return idle, err
	}
	drop, idle := plan.AbandonedSlots(slots, idle, plan.SlotPolicy{Idle: s.cfg.SlotExpiry, Xmin: s.cfg.SlotXminExpiry}, s.now())
	var errs []error
	for _, sl := range drop {
		err := s.slots.DropSlot(ctx, sl.Name)
		if errors.Is(err, messages.ErrBusy) {
			continue // used again this moment
		}
		s.log.Warn().Err(err).Str("slot", sl.Name).Stringer("restart_lsn", sl.RestartLSN).Bool("held_xmin", sl.HoldsXmin).
			Time("unused_since", idle[sl.Name]).Msg("abandoned slot dropped")
		errs = append(errs, err)
	}
	return idle, errors.Join(errs...)
}

// prune bounds the snapshots and bookmarks. When the pool is nearly full, a
// snapshot that only serves this node's own return from a fail-over is given up;
// its bookmark is still a base for others.
func (s *Service) prune(ctx context.Context) error {
	keep, err := s.keep(ctx)
	if err != nil {
		return fmt.Errorf("prune snapshots: %w", err)
	}
	return s.cat.prune(ctx, keep)
}

// keep says what prune leaves of a history.
func (s *Service) keep(ctx context.Context) (func(messages.History) plan.Keep, error) {
	pool, err := s.zfs.Pool(ctx, s.cfg.Dataset.Pool())
	if err != nil {
		return nil, err
	}
	return func(h messages.History) plan.Keep {
		bases, anchors := s.standbys.wanted(h)
		k := plan.Keep{Snapshots: s.cfg.KeepSnapshots, Bookmarks: s.cfg.KeepBookmarks, Bases: bases, InUse: s.inUse()}
		if pool.Capacity <= s.cfg.PoolLimit {
			for g := range anchors {
				k.InUse[g] = true
			}
		}
		return k
	}, nil
}
