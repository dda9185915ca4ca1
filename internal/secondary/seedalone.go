package secondary

import (
	"context"
	"fmt"
	"sync"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Seed makes a copy and hands it over, for one who does not run the service. No
// service may run for the node meanwhile. The next run of one proves the copy, and
// disposes of the one before it.
func (s *Service) Seed(ctx context.Context, r messages.OperatorRequest) error {
	j, err := s.openLineage(ctx)
	if err != nil {
		return err
	}
	if s.paused, err = s.loadPause(ctx); err != nil {
		return err
	}
	if p := s.pausedNow(); p != nil {
		return incurable(fmt.Errorf("seed node %s: %w: it is paused %s", s.cfg.Node, messages.ErrRefused, p), "resume it first")
	}
	s.j, s.resumed = j, !resting(j.Phase)
	return s.publishing(ctx, func() error {
		if err := s.endEarlier(ctx); err != nil {
			return err
		}
		if err := s.beginSeed(ctx, r); err != nil {
			return err
		}
		return s.seedOn(ctx, r)
	})
}

// publishing runs f with a reader of the outbox beside it.
func (s *Service) publishing(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	var events sync.WaitGroup
	events.Go(func() { _ = s.out.run(ctx) }) // it only ever says that ctx is done
	defer events.Wait()
	defer cancel()
	return f()
}

func (s *Service) seedOn(ctx context.Context, r messages.OperatorRequest) error {
	for j := s.journal(); !resting(j.Phase); j = s.journal() {
		s.heard(r.DataDir)
		if err := s.act(ctx, j); err != nil {
			return err
		}
		s.resumed = false
	}
	j := s.journal()
	if j.Phase != messages.PhaseIdle {
		if err := s.fire(ctx, resync.EventCancelled, nil); err != nil {
			return err
		}
	}
	if j.Error != "" {
		return advised(fmt.Errorf("resync %s of node %s: %w: %s", j.ID, s.cfg.Node, messages.ErrRefused, j.Error), j.Remedy)
	}
	return nil
}

// endEarlier ends what an earlier process left in the middle, if it was a seed: one
// that switched goes on to its end, any other is dropped.
func (s *Service) endEarlier(ctx context.Context) error {
	for j := s.journal(); !resting(j.Phase); j = s.journal() {
		var err error
		switch {
		case !j.HandOver:
			return incurable(fmt.Errorf("seed node %s: %w: resync %s is %s", s.cfg.Node, messages.ErrBusy, j.ID, j.Phase),
				"start secondary-sidecar: it goes on with that one")
		case resync.BeforeSwitch(j.Phase):
			err = s.fire(ctx, resync.EventCancelled, nil)
		default:
			s.heard("")
			err = s.act(ctx, j)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
