package secondary

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// engine diagnoses and drives until ctx is done. It is the only one that acts.
func (s *Service) engine(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.CheckInterval)
	defer tick.Stop()
	for {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			s.log.Error().Err(err).Str("phase", string(s.journal().Phase)).Msg("the engine stopped short and tries again")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.nudge:
		case f := <-s.asks:
			f(ctx)
		case <-tick.C:
		}
	}
}

// step does all there is to do now.
func (s *Service) step(ctx context.Context) error {
	for ctx.Err() == nil {
		j := s.journal()
		if !resting(j.Phase) {
			if err := s.act(ctx, j); err != nil {
				return err
			}
			continue
		}
		if again, err := s.watch(ctx, j); err != nil || !again {
			return err
		}
	}
	return ctx.Err()
}

// resting phases wait for a verdict, a trigger or a time; the others have work.
func resting(p messages.Phase) bool {
	return p == messages.PhaseIdle || p == messages.PhaseWaiting || p == messages.PhaseNeedsOperator
}

// watch diagnoses, and reports whether a resync began.
func (s *Service) watch(ctx context.Context, j resync.Journal) (bool, error) {
	s.resumed = false
	s.nameInLog(j)
	d := s.diagnose(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if again, err := s.attend(ctx, j); again || err != nil {
		return again, err
	}
	active := s.pausedNow() == nil
	if active && j.Phase == messages.PhaseIdle {
		s.tidyWhenDue(ctx)
	}
	if j.Phase == messages.PhaseNeedsOperator {
		// Who waits for a person may wait for long, and WAL must not pile up meanwhile (I-9).
		if err := s.releaseSlot(ctx); err != nil {
			s.log.Warn().Err(err).Msg("slot kept for now")
		}
	}
	if active && d.Verdict == messages.VerdictHealthy && j.Phase == messages.PhaseIdle {
		if err := s.track(ctx); err != nil {
			s.log.Warn().Err(err).Msg("lineage not refreshed")
		}
	}
	switch {
	// A trigger is obeyed although the standby is healthy.
	case d.Verdict == messages.VerdictHealthy && j.Phase != messages.PhaseIdle && !j.Trigger:
		return false, s.fireIf(ctx, j, resync.EventCured, nil)
	case !active: // nothing begins by itself
	case j.Phase == messages.PhaseWaiting && !s.now().Before(j.Due):
		return true, s.fireIf(ctx, j, resync.EventDue, nil)
	case s.begins(j, d):
		return true, s.fireIf(ctx, j, resync.EventRequested, s.anew(func(n *resync.Journal) {
			n.Reason, n.Evidence = d.Reason, d.Evidence
			n.Consent = s.cfg.Diagnosis.RejoinPromoted == plan.RejoinAuto
		}))
	}
	return false, nil
}

// begins reports whether the verdict starts a resync by itself. One that stopped for
// its operator goes on when what stood in its way, by the same reason, does not any
// more. A standby that streams is no alarm: where the budget is spent it goes on.
func (s *Service) begins(j resync.Journal, d plan.Diagnosis) bool {
	if !s.cfg.AutoResync || d.Verdict != messages.VerdictResync {
		return false
	}
	if d.Reason == messages.ReasonLagging && resync.OverBudget(j.Begun, s.now(), s.cfg.BudgetPerDay) {
		return false
	}
	return j.Phase == messages.PhaseIdle || j.Phase == messages.PhaseNeedsOperator && j.Blocked == d.Reason
}

// Trigger obeys a resync trigger: it is journaled when Trigger returns nil. One
// that comes while a resync runs is satisfied by it.
func (s *Service) Trigger(ctx context.Context, target messages.TriggerTarget, t messages.Trigger, at time.Time) error {
	if target.Snapshot || !target.All && target.Node != s.cfg.Node {
		return nil
	}
	j := s.journal()
	if j.TriggerAt.Equal(at) {
		return nil // journaled before a crash took the acknowledgement
	}
	if !j.Obey(&t, s.now()) {
		s.log.Warn().Str("by", t.By).Time("at", at).Msg("trigger dropped: this very one was obeyed before, somebody repeated it")
		return nil
	}
	obeyed := j.Obeyed
	if p := s.pausedNow(); p != nil {
		s.refused(t, p)
		return nil
	}
	if !resting(j.Phase) {
		s.log.Info().Msg("trigger joins the running resync")
		return nil
	}
	err := s.begin(ctx, func(n *resync.Journal) {
		n.Reason, n.Trigger, n.Full, n.By, n.Evidence = messages.ReasonRequested, true, t.Full, t.By, t.Reason
		n.TriggerAt, n.Obeyed = at.UTC(), obeyed
		// Only a trigger to this very node may replace one that was promoted: "all" is
		// too easily said of a new primary.
		n.Consent = !target.All && s.cfg.Diagnosis.RejoinPromoted != plan.RejoinNever
	})
	if err == nil {
		s.wake()
	}
	return err
}

func (s *Service) wake() {
	select {
	case s.nudge <- struct{}{}:
	default: // it is awake already
	}
}

// act does what the phase asks for and journals what came of it.
func (s *Service) act(ctx context.Context, j resync.Journal) error {
	began := s.now()
	event, err := s.do(ctx, resync.ActionOf(j.Phase))
	if ctx.Err() != nil {
		// Not a failure: the next start finds the phase in the journal and goes on.
		return ctx.Err()
	}
	s.log.Debug().Str("phase", string(j.Phase)).Dur("took_ms", s.now().Sub(began)).Err(err).Msg("phase done")
	if err == nil {
		err = s.fire(ctx, event, nil)
	} else {
		err = s.failed(ctx, j, err)
	}
	if err == nil {
		s.hooksAfter(ctx, j.Phase)
	}
	return err
}

func (s *Service) do(ctx context.Context, a resync.Action) (resync.Event, error) {
	switch a {
	case resync.ActionBegin:
		return s.charge()
	case resync.ActionPlan:
		return s.plan(ctx)
	case resync.ActionReceive:
		return s.receive(ctx)
	case resync.ActionClear:
		return s.clearLive(ctx)
	case resync.ActionDiscard:
		return s.discardOld(ctx)
	case resync.ActionStage:
		return s.stage(ctx)
	case resync.ActionStopServer:
		return s.stop(ctx)
	case resync.ActionSwitch:
		return s.switchOver(ctx)
	case resync.ActionStartServer:
		return s.start(ctx)
	case resync.ActionProve:
		return s.prove(ctx)
	case resync.ActionRevert:
		return s.revert(ctx)
	case resync.ActionNone, resync.ActionLeave, resync.ActionFinish, resync.ActionBackOff, resync.ActionAlarm, resync.ActionForget:
	}
	return "", fmt.Errorf("action %q has nothing to do", a)
}

// failed journals a failure; where the machine goes from there is the table's
// business.
func (s *Service) failed(ctx context.Context, j resync.Journal, cause error) error {
	remedy, hopeless := s.judged(j, cause)
	if j.Phase == messages.PhaseReverting {
		return s.revertFailed(ctx, cause)
	}
	event := resync.EventFailed
	if hopeless {
		event = resync.EventIncurable
	}
	return s.fire(ctx, event, s.blame(ctx, j, cause, remedy, hopeless))
}

// judged is what to do about a failure, and whether there is no use in trying again.
func (s *Service) judged(j resync.Journal, cause error) (remedy string, hopeless bool) {
	remedy, hopeless = remedyOf(cause)
	if seen := j; seen.Failed(passing(cause), s.cfg.SameFailure) && !hopeless {
		hopeless, remedy = true, s.breakLoop(seen, remedy)
	}
	s.log.Warn().Err(cause).Str("phase", string(j.Phase)).Str("remedy", remedy).Msg("resync: phase failed")
	return remedy, hopeless
}

// blame is what a failure in j's phase leaves in the journal: its reason, and when the
// next try is.
func (s *Service) blame(ctx context.Context, j resync.Journal, cause error, remedy string, hopeless bool) func(*resync.Journal) {
	where := s.leaveFindings(ctx, j, cause, remedy)
	return func(n *resync.Journal) {
		n.Error, n.Remedy, n.Diagnostics = cause.Error(), remedy, where
		n.Incurable, n.Blocked = n.Incurable || hopeless, blockedBy(cause)
		n.Failed(passing(cause), s.cfg.SameFailure)
		n.Due = s.now().Add(s.cfg.Pace.BackOff(n.Attempts, rand.Float64())).UTC()
	}
}

// breakLoop is the advice when the same phase has failed again and again.
func (s *Service) breakLoop(j resync.Journal, remedy string) string {
	text := fmt.Sprintf("it has failed %d times in phase %s; find the cause, then: %s", j.Repeats, j.Phase, s.triggerCommand())
	if remedy != "" {
		text = remedy + "; " + text
	}
	return text
}

func (s *Service) triggerCommand() string {
	return fmt.Sprintf("nats pub %s ''", messages.Subjects{Cluster: s.cfg.Cluster}.TriggerResync(string(s.cfg.Node)))
}

// revertFailed tries again a few times: it is the way back to a running standby.
func (s *Service) revertFailed(ctx context.Context, cause error) error {
	const most = 20
	s.reverts++
	blocked := blockedBy(cause)
	if s.reverts < most && blocked == "" {
		if err := s.pause(ctx, min(time.Duration(s.reverts*s.reverts)*time.Second, time.Minute)); err != nil {
			return err
		}
		return s.fire(ctx, resync.EventFailed, nil)
	}
	s.reverts = 0
	return s.fire(ctx, resync.EventGaveUp, func(n *resync.Journal) {
		n.Error, n.Blocked = cause.Error(), blocked
		if n.Remedy, _ = remedyOf(cause); n.Remedy != "" {
			return
		}
		n.Remedy = fmt.Sprintf("the previous copy is %s or %s; bring it back by hand (rename, mount, start), or trigger a resync", s.cfg.old(), s.cfg.Dataset)
	})
}

// fire makes one transition: journaled first, then known to the world.
func (s *Service) fire(ctx context.Context, e resync.Event, change func(*resync.Journal)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transit(ctx, e, change)
}

// fireIf is fire for what was decided a while ago, by seen. Whoever asked for a resync
// since must not lose it: then nothing happens, and it is decided anew.
func (s *Service) fireIf(ctx context.Context, seen resync.Journal, e resync.Event, change func(*resync.Journal)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.j.ID != seen.ID || s.j.Phase != seen.Phase {
		return nil
	}
	return s.transit(ctx, e, change)
}

// transit is fire's. The caller holds mu.
func (s *Service) transit(ctx context.Context, e resync.Event, change func(*resync.Journal)) error {
	row, ok := resync.Next(s.j.Phase, e)
	if !ok {
		return fmt.Errorf("resync machine: no way from %s on %s", s.j.Phase, e)
	}
	n := s.j
	if change != nil {
		change(&n)
	}
	n.Phase = row.To
	// Until the switch the live copy is the one that was proven last.
	n.Proven = n.Proven && e != resync.EventStopped && e != resync.EventCramped || e == resync.EventProven
	n.Clip()
	if err := s.saveJournal(ctx, n); err != nil {
		return err
	}
	s.working.Store(n.ID)
	s.log.WithLevel(levelOf(n.Phase)).Str("from", string(s.j.Phase)).Str("phase", string(n.Phase)).
		Str("on", string(e)).Str("why", row.Why).Msg("resync")
	s.j = n
	if e != resync.EventCured && n.ID != "" {
		s.lastReport = s.report(n)
	}
	if e == resync.EventProven {
		s.tidyAt = time.Time{} // the previous copy can go now
	}
	if e == resync.EventProven || e == resync.EventHandedOver {
		s.forget()
	}
	s.announcePhase(n, e)
	return nil
}

// nameInLog has the lines of a resync carry its id, from the line that begins it to
// what is done after the one that ends it.
func (s *Service) nameInLog(j resync.Journal) {
	id := j.ID
	if j.Phase == messages.PhaseIdle {
		id = ""
	}
	s.working.Store(id)
}

// levelOf: an error is what a person has to look at, a warning what did not go as it
// should.
func levelOf(p messages.Phase) zerolog.Level {
	if p == messages.PhaseNeedsOperator {
		return zerolog.ErrorLevel
	}
	if p == messages.PhaseReverting || p == messages.PhaseWaiting {
		return zerolog.WarnLevel
	}
	return zerolog.InfoLevel
}

// journal is a copy of the present one.
func (s *Service) journal() resync.Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.j
}

// later changes what the next transition will write. It is for the outcome of an
// action: after a crash before that, the action is repeated anyway.
func (s *Service) later(change func(*resync.Journal)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.j)
}

// note changes the journal on disk without a transition, before a deed.
func (s *Service) note(ctx context.Context, change func(*resync.Journal)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.j
	change(&n)
	n.Clip()
	if err := s.saveJournal(ctx, n); err != nil {
		return err
	}
	s.j = n
	return nil
}

// diagnose gathers the facts, decides, and tells when the verdict changed.
func (s *Service) diagnose(ctx context.Context) plan.Diagnosis {
	f := s.gather(ctx)
	if ctx.Err() != nil {
		return s.previous // who stops hears no answers: that is no news of the standby
	}
	f.Suspect, f.SuspectSince, f.Position, f.Ahead = s.previous.Suspect, s.previous.SuspectSince, s.previous.Position, s.previous.Ahead
	d := plan.Diagnose(f, s.cfg.Diagnosis, s.now())
	s.previous, s.looked = d, f
	s.cure(ctx, d)
	s.setVerdict(d)
	return d
}
