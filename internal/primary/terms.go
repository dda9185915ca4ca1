package primary

import (
	"context"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// retryTerm is the pause after a term could not begin.
const retryTerm = 2 * time.Second

// turn is told when the node goes on or off duty. What was known of the datasets
// ends with the term: as a standby the node may get another live dataset.
func (s *Service) turn(ctx context.Context, on bool) {
	if !on {
		s.gate.set(false)
		s.notBegun.Store(nil)
	}
	select {
	case s.turned <- struct{}{}:
	default: // terms has yet to look, and will see the newest state
	}
	s.roleChanged(ctx, on)
}

// terms begins a term whenever the node goes on duty.
func (s *Service) terms(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.turned:
		case <-retry.C:
		}
		if _, err := s.duty.on(); err != nil {
			continue
		}
		if open, _ := s.gate.state(); open {
			continue
		}
		if err := s.begin(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("term not begun yet")
			retry.Reset(retryTerm)
		}
	}
}

// begin notes why a term did not begin, for whoever asks for the status.
func (s *Service) begin(ctx context.Context) error {
	err := s.beginTerm(ctx)
	if s.notBegun.Store(nil); err != nil {
		why := err.Error()
		s.notBegun.Store(&why)
	}
	return err
}

// beginTerm reads what the live tree holds, makes what it descends from known as
// bases, and opens the gate.
func (s *Service) beginTerm(ctx context.Context) error {
	if err := s.cat.load(ctx); err != nil {
		return err
	}
	s.uninherited.Store(true)
	if err := s.inherit(ctx); err != nil {
		// Those that could be made serve; without the others a standby needs a seed.
		s.log.Warn().Err(err).Msg("not all bases of the past are at hand yet")
	}
	if err := s.standbys.load(ctx); err != nil {
		return err
	}
	s.warnOfSlots(ctx)
	s.gate.set(true)
	// It may have gone off duty meanwhile, before the gate was there to be closed.
	if _, err := s.duty.on(); err != nil {
		s.gate.set(false)
	}
	return nil
}

// inherit is tried until it has succeeded once in a term.
func (s *Service) inherit(ctx context.Context) error {
	if !s.uninherited.Load() {
		return nil
	}
	err := s.cat.inherit(ctx)
	s.uninherited.Store(err != nil)
	return err
}

// on returns the lease's revision while the node publishes.
func (s *Service) on() (uint64, error) {
	rev, err := s.duty.on()
	if err != nil {
		return 0, err
	}
	if open, _ := s.gate.state(); !open {
		why := "it has just gone on duty and is reading its snapshots"
		if err := s.notBegun.Load(); err != nil {
			why = "it is on duty and cannot begin to publish: " + *err
		}
		return 0, fmt.Errorf("node %s: %w: %s", s.cfg.Node, messages.ErrUnavailable, why)
	}
	return rev, nil
}

// WhilePublishing runs f while this node publishes, and ends it when it does not
// any more. It returns when ctx is done or f returned by itself.
func (s *Service) WhilePublishing(ctx context.Context, f func(ctx context.Context) error) error {
	return s.gate.while(ctx, f)
}

// warnOfSlots: a primary that retains WAL without limit fills its disk some day.
func (s *Service) warnOfSlots(ctx context.Context) {
	unbounded, err := s.slots.SlotsUnbounded(ctx)
	if err != nil {
		s.log.Debug().Err(err).Msg("limit of slots not read")
		return
	}
	s.unbounded.Store(unbounded)
	if unbounded {
		s.log.Warn().Msg(unboundedSlots)
	}
}

const unboundedSlots = "max_slot_wal_keep_size is -1: a standby that is away retains WAL until the disk is full; set a limit, pgresync copes with a lost slot"
