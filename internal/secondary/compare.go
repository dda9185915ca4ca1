package secondary

import (
	"context"
	"fmt"
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

// forget ends what is known of a copy that is no longer the live one. The caller holds
// mu.
func (s *Service) forget() {
	if s.verdict.Verdict != messages.VerdictHealthy {
		s.verdict = plan.Diagnosis{}
	}
	s.streamed, s.previous, s.compared = 0, plan.Diagnosis{}, compared{}
	s.trackAt = time.Time{} // the resync has left a fresh base
	s.replays, s.increment = nil, 0
}

// strayed is evidence that the live copy has, or may have, what the publisher's log
// does not have, "" for none. An operator's resync replaces a copy for no reason of the
// copy's own: nobody has looked.
func (s *Service) strayed(ctx context.Context, l live) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	f := plan.Facts{Cluster: s.cfg.Cluster, Node: s.cfg.Node, Ahead: s.previous.Ahead}
	// A standby that streams is past what its primary said a moment before.
	s.gatherDatabase(ctx, &f)
	var err error
	if f.Primary, err = s.primary.Facts(ctx); err != nil {
		return "", fmt.Errorf("find out whether the copy in %s has diverged: %w", s.cfg.Dataset, err)
	}
	s.gatherServer(ctx, l, &f)
	f.Streamed = s.streamed
	s.compare(ctx, &f)
	return f.Strayed(), nil
}
