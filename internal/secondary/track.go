package secondary

import (
	"context"
	"fmt"
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
	m, err := s.toTrack(ctx)
	if err == nil && m != nil {
		err = s.keepUp(ctx, m)
	}
	if err != nil {
		s.trackAt = s.now().Add(trackRetry)
		return fmt.Errorf("track: %w", err)
	}
	return nil
}

// toTrack is the snapshot to have next, nil when there is none. Who tracks always
// takes what the publisher has made anyway; who tracks by interval asks for one.
func (s *Service) toTrack(ctx context.Context) (*messages.Manifest, error) {
	switch f := s.facts; {
	case f == nil:
		return nil, nil
	case s.cfg.TrackAlways:
		if f.Snapshot == nil || f.Snapshot.ID == s.tracked {
			return nil, nil
		}
		return f.Snapshot, s.mayTrack(ctx, f)
	case s.cfg.TrackInterval > 0:
		if err := s.mayTrack(ctx, f); err != nil {
			return nil, err
		}
		m, err := s.primary.Snapshot(ctx, 0, s.cfg.TrackInterval/2)
		if err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
		return m, nil
	}
	return nil, nil
}

// mayTrack: a fresh base is a convenience, and must not be what fills the pool.
func (s *Service) mayTrack(ctx context.Context, f *messages.PrimaryFacts) error {
	if err := s.gates(ctx, f); err != nil {
		return err
	}
	pool, err := s.zfs.List(ctx, messages.Dataset(s.cfg.Lineage.Pool()))
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
	if _, _, err := s.pass(ctx, m); err != nil {
		return err
	}
	s.tracked = m.ID
	if !s.cfg.TrackAlways {
		s.trackAt = plan.NextTrack(s.now(), s.cfg.TrackInterval)
	}
	return s.pruneLineage(ctx)
}
