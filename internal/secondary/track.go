package secondary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// trackRetry is the pause after a pass of a healthy standby that failed: nothing
// is urgent about it.
const trackRetry = time.Minute

// track keeps the lineage of a healthy standby fresh, so that a later resync has
// little to move. It touches the lineage only, and needs no journal.
func (s *Service) track(ctx context.Context) error {
	if s.trackAt.IsZero() && s.cfg.TrackInterval > 0 {
		s.trackAt = plan.NextTrack(s.now(), s.cfg.TrackInterval)
	}
	if s.now().Before(s.trackAt) {
		return nil
	}
	// The publisher takes its time over a snapshot, too.
	err := s.unhurried(ctx, func(ctx context.Context) error {
		m, err := s.toTrack(ctx)
		if err != nil || m == nil {
			return err
		}
		return s.keepUp(ctx, m)
	})
	if err != nil {
		s.trackAt = s.now().Add(trackRetry)
		return fmt.Errorf("track: %w", err)
	}
	return nil
}

// unhurried runs f, which may take hours, until something does not bear waiting: the
// engine looks after nothing else meanwhile. What arrived is gone on with later.
func (s *Service) unhurried(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	was := s.looked
	var watch sync.WaitGroup
	watch.Go(func() { cancel(s.urgent(ctx, was)) })
	err := f(ctx)
	cancel(nil)
	watch.Wait()
	if cause := context.Cause(ctx); err != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// urgent waits for a trigger, or until the standby is not what it was when it was
// found healthy. One look is too few to tell: a receiver may connect anew.
func (s *Service) urgent(ctx context.Context, was plan.Facts) error {
	tick := time.NewTicker(s.cfg.CheckInterval)
	defer tick.Stop()
	for seen := error(nil); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.nudge:
			s.wake() // it is meant for the engine
			return errors.New("it waits for what the engine was woken for")
		case <-tick.C:
		}
		now := s.upset(ctx, was)
		if ctx.Err() == nil && seen != nil && now != nil {
			return fmt.Errorf("it waits for the standby: %w", now)
		}
		seen = now
	}
}

// upset tells what is wrong with a standby that was healthy a moment ago. One that
// could not be asked then (hot_standby = off) tells nothing now.
func (s *Service) upset(ctx context.Context, was plan.Facts) error {
	if was.Local == nil {
		return nil
	}
	id, err := s.db.Identity(ctx)
	switch {
	case err != nil:
		return err
	case id.Role == messages.RolePrimary:
		return errors.New("PostgreSQL left recovery")
	case was.Receiver == nil:
		return nil
	}
	r, err := s.db.Receiver(ctx)
	if err == nil && was.Receiver.Streaming && !r.Streaming {
		return errors.New("it does not stream any more")
	}
	return err
}

// toTrack is the snapshot to have next, nil when there is none. Who tracks always
// takes what the publisher has made anyway; who tracks by interval asks for one. What
// was cut comes first.
func (s *Service) toTrack(ctx context.Context) (*messages.Manifest, error) {
	switch f := s.facts; {
	case f == nil:
		return nil, nil
	case s.cfg.TrackAlways:
		if f.Snapshot == nil || f.Snapshot.ID == s.tracked {
			return nil, nil
		}
		return cmp.Or(s.cutTrack(ctx, f), f.Snapshot), s.mayTrack(ctx, f)
	case s.cfg.TrackInterval > 0:
		if err := s.mayTrack(ctx, f); err != nil {
			return nil, err
		}
		if m := s.cutTrack(ctx, f); m != nil {
			return m, nil
		}
		m, err := s.primary.Snapshot(ctx, 0, s.cfg.TrackInterval/2)
		if err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
		return m, nil
	}
	return nil, nil
}

// cutTrack is the snapshot of a pass that was cut, nil when there is none.
func (s *Service) cutTrack(ctx context.Context, f *messages.PrimaryFacts) *messages.Manifest {
	branches, err := s.branches(ctx)
	if err != nil {
		return nil
	}
	own, err := s.ownHistories(ctx)
	if err != nil {
		return nil
	}
	return s.unfinished(ctx, f, branches, own)
}

// mayTrack: a fresh base is a convenience, and must not be what fills the pool.
func (s *Service) mayTrack(ctx context.Context, f *messages.PrimaryFacts) error {
	if err := s.gates(ctx, f); err != nil {
		return err
	}
	pool, err := s.zfs.Survey(ctx, messages.Dataset(s.cfg.Lineage.Pool()))
	if err != nil {
		return err
	}
	if used, available := pool[0].Used, pool[0].Available; !plan.MayTrack(used, available) {
		return fmt.Errorf("pool %s: %w: %d bytes are available, less than a fifth of it", pool[0].Name, messages.ErrNoSpace, available)
	}
	return nil
}

func (s *Service) keepUp(ctx context.Context, m *messages.Manifest) error {
	if err := s.matches(ctx, m); err != nil {
		return err
	}
	// For the next pass, of a resync perhaps, to go on where this one is cut.
	if err := s.saveManifest(ctx, m); err != nil {
		return err
	}
	if _, _, err := s.pass(ctx, m); err != nil {
		return err
	}
	s.tracked = m.ID
	if !s.cfg.TrackAlways {
		s.trackAt = plan.NextTrack(s.now(), s.cfg.TrackInterval)
	}
	return s.pruneLineage(ctx)
}
