package secondary

import (
	"context"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/internal/pace"
	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// report is what is known of the journal's resync.
func (s *Service) report(j resync.Journal) *messages.ResyncReport {
	return &messages.ResyncReport{
		ID: j.ID, Phase: j.Phase, Reason: j.Reason, Evidence: j.Evidence, StartedAt: j.StartedAt, Passes: j.Passes,
		DownMillis: j.DownMillis, TotalMillis: s.now().Sub(j.StartedAt).Milliseconds(), Error: j.Error, Remedy: j.Remedy, Diagnostics: j.Diagnostics,
	}
}

// announcePhase publishes what fire journaled. The caller holds mu.
func (s *Service) announcePhase(j resync.Journal, on resync.Event) {
	e := s.event(messages.EventPhase, fmt.Sprintf("node %s: resync %s: %s", s.cfg.Node, j.ID, j.Phase))
	switch {
	case j.Phase == messages.PhaseNeedsOperator:
		e.Type = messages.EventNeedsOperator
		e.Text = fmt.Sprintf("node %s needs its operator: %s; %s", s.cfg.Node, j.Error, j.Remedy)
	case on == resync.EventHandedOver:
		e.Text = fmt.Sprintf("node %s: the copy of resync %s is in place; who asked for it starts PostgreSQL", s.cfg.Node, j.ID)
	case on == resync.EventProven:
		e.Type = messages.EventRejoined
		e.Text = fmt.Sprintf("node %s streams again after resync %s", s.cfg.Node, j.ID)
	case j.Phase == messages.PhaseWaiting:
		e.Type = messages.EventFailed
		e.Text = fmt.Sprintf("node %s: resync %s did not succeed, next try %s: %s", s.cfg.Node, j.ID, j.Due.Format(time.TimeOnly), j.Error)
	}
	e.Resync = s.report(j)
	s.out.put(e)
}

func (s *Service) event(t messages.EventType, text string) messages.Event {
	return messages.Event{
		V: messages.Version, ID: messages.NewMessageID(s.now()), Type: t, Cluster: s.cfg.Cluster, Node: s.cfg.Node,
		At: s.now().UTC(), Text: text,
	}
}

// setVerdict remembers d for the status, and tells when it changed.
func (s *Service) setVerdict(d plan.Diagnosis) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := d.Verdict != s.verdict.Verdict || d.Reason != s.verdict.Reason
	s.verdict = d
	if !changed {
		return
	}
	s.log.Info().Str("verdict", string(d.Verdict)).Str("reason", string(d.Reason)).Str("evidence", d.Evidence).
		Str("remedy", d.Remedy).Msg("verdict")
	e := s.event(messages.EventVerdict, fmt.Sprintf("node %s: %s (%s): %s", s.cfg.Node, d.Verdict, d.Reason, d.Evidence))
	e.Verdict, e.Reason = d.Verdict, d.Reason
	s.out.put(e)
}

func (s *Service) setLocal(id *messages.Identity, behind *uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local, s.behind = id, behind
}

// Lag is how many bytes of the publisher's WAL were not replayed here at the last
// look, false when that cannot be told.
func (s *Service) Lag() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind == nil {
		return 0, false
	}
	return *s.behind, true
}

// State is what the presence record says; it asks nobody.
func (s *Service) State() messages.NodeStatus { return s.status() }

// progress returns a callback that publishes a transfer's progress, once a second
// at most.
func (s *Service) progress(t messages.TransferReport) func(bytes uint64) {
	began := s.now()
	last := began
	var meter pace.Meter
	meter.Observe(began, 0)
	s.setTransfer(&t)
	return func(bytes uint64) {
		now := s.now()
		if now.Sub(last) < time.Second {
			return
		}
		last = now
		meter.Observe(now, bytes)
		t.Bytes, t.Millis = bytes, now.Sub(began).Milliseconds()
		t.Rate, t.LeftMillis = meter.Rate(), meter.Left(t.Estimate).Milliseconds()
		s.setTransfer(&t)
		text := fmt.Sprintf("%d of about %d bytes of %q received, %d bytes/s", bytes, t.Estimate, t.Dataset, t.Rate)
		if t.LeftMillis > 0 {
			text += fmt.Sprintf(", about %s left", (time.Duration(t.LeftMillis) * time.Millisecond).Round(time.Second))
		}
		s.announceTransfer(t, text)
	}
}

// trouble tells why a transfer does not simply go on.
func (s *Service) trouble(m *messages.Manifest, step *plan.Step, text string) {
	s.log.Warn().Str("dataset", string(step.Dataset)).Str("snapshot", string(m.ID)).Msg("transfer " + text)
	s.announceTransfer(messages.TransferReport{
		Resync: s.journal().ID, Snapshot: m.ID, Dataset: step.Dataset, Trouble: text,
	}, fmt.Sprintf("%q: %s", step.Dataset, text))
}

func (s *Service) announceTransfer(t messages.TransferReport, text string) {
	e := s.event(messages.EventTransfer, fmt.Sprintf("node %s: %s", s.cfg.Node, text))
	e.Transfer = &t
	s.out.put(e)
}

// present keeps the presence record alive; it expires by itself.
func (s *Service) present(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		s.putStatus(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Service) putStatus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.events.PutStatus(ctx, s.status()); err != nil {
		s.log.Debug().Err(err).Msg("status not published")
	}
}

func (s *Service) status() messages.NodeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := messages.NodeStatus{
		V: messages.Version, Cluster: s.cfg.Cluster, Node: s.cfg.Node, Sidecar: messages.SidecarSecondary, Version: s.cfg.Version,
		At: s.now().UTC(), Role: messages.RoleDown, Identity: s.local, Phase: s.j.Phase, Verdict: s.verdict.Verdict,
		Reason: s.verdict.Reason, Evidence: s.verdict.Evidence, Base: s.j.Snapshot, Bases: s.bases, Last: s.lastReport, Kept: s.kept,
		Paused: s.paused, Transfer: s.moving,
	}
	if s.local != nil {
		st.Role = s.local.Role
	}
	return st
}

// setTransfer copies t, which the caller goes on changing.
func (s *Service) setTransfer(t *messages.TransferReport) {
	if t != nil {
		at := *t
		t = &at
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = t
}
