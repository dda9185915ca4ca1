package secondary

import (
	"context"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// compared is what the last comparison of this copy's log with the publisher's said.
type compared struct {
	apart     string
	streaming bool
}

// compare holds this copy's log against the publisher's (PG-10): now and then, and
// whenever the receiver came or went.
func (s *Service) compare(ctx context.Context, f *plan.Facts) {
	defer func() { f.Apart = s.compared.apart }()
	if s.witness == nil || s.judge == nil || !f.Comparable() {
		return
	}
	streaming := f.Receiver != nil && f.Receiver.Streaming
	if s.now().Before(s.compareAt) && streaming == s.compared.streaming {
		return
	}
	s.compareAt, s.compared.streaming = s.now().Add(plan.CompareAfter(streaming)), streaming
	claims, err := s.claims(ctx, f)
	if err != nil || len(claims) == 0 {
		s.log.Debug().Err(err).Msg("log not compared")
		return
	}
	answers, err := s.judge.AttestWAL(ctx, claims)
	if err != nil {
		s.log.Debug().Err(err).Msg("log not compared")
		return
	}
	if apart, told := plan.Apart(answers); told {
		s.compared.apart = apart
	}
}

func (s *Service) claims(ctx context.Context, f *plan.Facts) ([]messages.WALClaim, error) {
	if f.Local == nil {
		return plan.ControlClaims(*f.Control), nil
	}
	return s.witness.WALClaims(ctx)
}

// forget ends what is known of a copy that is no longer the live one.
func (s *Service) forget() {
	s.streamed, s.previous, s.compared = 0, plan.Diagnosis{}, compared{}
	s.trackAt = time.Time{} // the resync has left a fresh base
	s.replays, s.increment = nil, 0
}
