package secondary

import (
	"context"
	"fmt"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// begin journals a new resync.
func (s *Service) begin(ctx context.Context, fill func(n *resync.Journal)) error {
	return s.fire(ctx, resync.EventRequested, s.anew(fill))
}

// anew makes the journal of another resync, for fire.
func (s *Service) anew(fill func(n *resync.Journal)) func(*resync.Journal) {
	return func(n *resync.Journal) {
		*n = resync.Journal{
			V: n.V, Phase: n.Phase, Begun: n.Begun, Obeyed: n.Obeyed, Proven: n.Proven, ID: messages.NewResyncID(s.now()), StartedAt: s.now().UTC(),
			Diverged: s.knownDiverged(*n),
		}
		fill(n)
	}
}

// knownDiverged reports what is known of the live copy before another resync replaces
// it, whatever that one's reason is. A resync that waits has not replaced it. The caller
// holds mu.
func (s *Service) knownDiverged(before resync.Journal) bool {
	return s.verdict.Reason == messages.ReasonDiverged || s.verdict.Suspect == messages.ReasonDiverged ||
		before.Phase != messages.PhaseIdle && (before.Diverged || before.Reason == messages.ReasonDiverged)
}

// charge counts a resync against the day's budget; an operator's is free.
func (s *Service) charge() (resync.Event, error) {
	j := s.journal()
	if !j.Trigger && resync.OverBudget(j.Begun, s.now(), s.cfg.BudgetPerDay) {
		return "", incurable(fmt.Errorf("%d resyncs began by themselves in the last 24 hours: %w", s.cfg.BudgetPerDay, messages.ErrRefused),
			"find the cause, then: "+s.triggerCommand())
	}
	s.later(func(n *resync.Journal) { n.Begin(s.now()) })
	return resync.EventBegun, nil
}
