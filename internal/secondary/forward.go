package secondary

import (
	"context"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// replayWindow is over how long the speed of replay is measured: a large index, or
// a query that is in the way for a moment, says nothing about the rest.
const replayWindow = 5 * time.Minute

// replayed is where replay stood at a time.
type replayed struct {
	at  time.Time
	lsn messages.LSN
}

// forward measures how fast replay is, and asks for the size of an increment where
// that might be the quicker way.
func (s *Service) forward(ctx context.Context, f *plan.Facts) {
	if !s.cfg.Diagnosis.Forward.Enabled || f.Receiver == nil || s.estimates == nil {
		s.replays = nil
		return
	}
	s.replays, f.ReplayRate = measure(s.replays, replayed{s.now(), f.Receiver.ReplayLSN})
	if !plan.WorthAnEstimate(*f, s.cfg.Diagnosis.Forward) {
		s.increment = 0
		return
	}
	if s.increment == 0 || !s.now().Before(s.incrementAt) {
		s.incrementAt = s.now().Add(time.Minute)
		p, err := s.foresee(ctx, messages.OperatorRequest{})
		if err != nil || len(p.Obstacles) > 0 {
			s.log.Debug().Err(err).Msg("size of an increment not known")
			s.increment = 0
			return
		}
		s.increment = max(p.Bytes+p.Since, 1)
	}
	f.Increment = s.increment
}

// measure adds a sample and tells the speed over the window, 0 before the window is
// half full.
func measure(samples []replayed, now replayed) ([]replayed, uint64) {
	if n := len(samples); n > 0 && now.lsn < samples[n-1].lsn {
		samples = nil // restarted, or another copy
	}
	samples = append(samples, now)
	for len(samples) > 2 && now.at.Sub(samples[1].at) >= replayWindow {
		samples = samples[1:]
	}
	span := now.at.Sub(samples[0].at)
	if span < replayWindow/2 {
		return samples, 0
	}
	return samples, uint64(float64(now.lsn.Sub(samples[0].lsn)) / span.Seconds())
}
