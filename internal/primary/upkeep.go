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

// upkeep bounds what the publisher keeps: bases of standbys that are gone, and
// snapshots. Every step can be repeated.
func (s *Service) upkeep(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		if err := s.upkeepOnce(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("housekeeping")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Service) upkeepOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upkeepEvery)
	defer cancel()
	// A lost update of who has what only means that it is kept a minute longer.
	nodes, err := s.events.Nodes(ctx)
	if err == nil {
		err = s.standbys.heard(ctx, nodes, s.sends)
	}
	return errors.Join(err, s.cat.removeIncomplete(ctx), s.cat.refresh(ctx), s.inherit(ctx), s.prune(ctx))
}

// prune bounds the snapshots and bookmarks. Where there is no room a snapshot stays
// only while it is sent: what it pins grows with all that is overwritten. Its bookmark
// is still a base.
func (s *Service) prune(ctx context.Context) error {
	keep, err := s.keep(ctx)
	if err != nil {
		return fmt.Errorf("prune snapshots: %w", err)
	}
	return s.cat.prune(ctx, keep)
}

// keeps says what prune leaves of the history of one dataset.
type keeps func(name messages.RelName, h messages.History) plan.Keep

func (s *Service) keep(ctx context.Context) (keeps, error) {
	tree, err := s.zfs.List(ctx, s.cfg.Dataset)
	if err != nil {
		return nil, err
	}
	err = room(ctx, s.cfg, s.zfs, tree, s.cat.stays)
	_, cramped := errors.AsType[*crampedError](err)
	if err != nil && !cramped {
		return nil, err
	}
	return func(name messages.RelName, h messages.History) plan.Keep {
		bases, anchors := s.standbys.wanted(h)
		// In this order: a bracket's snapshot is in use until the catalogue knows it.
		use := s.inUse(h)
		k := plan.Keep{
			Snapshots: s.cfg.KeepSnapshots, Cramped: cramped, Stays: s.cat.stays(name),
			Bookmarks: s.cfg.KeepBookmarks, Bases: bases, InUse: use,
		}
		if !cramped {
			for g := range anchors {
				k.InUse[g] = true
			}
		}
		return k
	}, nil
}
