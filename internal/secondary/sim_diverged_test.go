package secondary

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// resumes lets a sidecar that has just been started do f in phase stopping of a resync
// that an operator asked for. It knows nothing but the journal, and looks for itself.
func resumes(t *testing.T, begin func(*world), f func(ctx context.Context, w *world, s *Service)) {
	t.Helper()
	theSeededOnce(t)
	synctest.Test(t, func(t *testing.T) {
		w := theSeeded.clone()
		must(t, wait(t.Context(), time.Hour))
		begin(w)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := (&seeding{w, t, nil}).service(cancel)
		s.witness, s.judge = dbHand{hand{w, w.life}}, pubHand{hand{w, w.life}}
		j := w.journal(t)
		s.j = resync.Journal{
			V: 1, ID: messages.NewResyncID(time.Now()), Phase: messages.PhaseStopping, Snapshot: j.Snapshot, Branch: j.Branch,
			Reason: messages.ReasonRequested, Trigger: true, Consent: true,
		}
		f(ctx, w, s)
		for _, p := range w.broken {
			t.Error(p)
		}
	})
}

// An operator's resync has a reason of its own, and still keeps what exists nowhere
// else.
func TestAStopLooksForWhatThePublisherDoesNotHave(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  bool
	}{
		"it streams":                         {func(*world) {}, false},
		"it is stopped":                      {func(w *world) { w.server = nil }, false},
		"it is past the fork":                {pastTheFork, true},
		"it is stopped past the fork":        {func(w *world) { pastTheFork(w); w.server = nil }, true},
		"another log on the same timeline":   {func(w *world) { w.serving().apart = true }, true},
		"promoted, and stopped":              {func(w *world) { w.serving().state = "shut down"; w.server = nil }, true},
		"it follows the one that was chosen": {func(w *world) { w.pub.failOver("db3", w.pub.lsn) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, w *world, s *Service) {
				event, err := s.stop(ctx)
				if err != nil || event != resync.EventStopped || w.up() != nil {
					t.Fatalf("got %s, %v, server %v", event, err, w.up())
				}
				if got := w.journal(t).Diverged; got != tt.want {
					t.Errorf("the journal says diverged %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// Nothing is stopped as long as that cannot be told: the new copy could not be proven
// either.
func TestNothingIsStoppedWithoutThePublisher(t *testing.T) {
	resumes(t, func(w *world) { w.cutUntil = time.Now().Add(time.Minute) }, func(ctx context.Context, w *world, s *Service) {
		_, err := s.stop(ctx)
		if !errors.Is(err, messages.ErrUnavailable) || !passing(err) || w.up() == nil {
			t.Errorf("got %v, server %v; want it to run, and another try", err, w.up())
		}
	})
}

// A resync that stopped for its operator has found out what it knows of the live copy
// for the next one, too; what was replaced is no matter any more.
func TestATriggerKeepsWhatIsKnownOfDivergence(t *testing.T) {
	for name, tt := range map[string]struct {
		before resync.Journal
		want   bool
	}{
		"diverged, and failed":         {resync.Journal{Phase: messages.PhaseNeedsOperator, Reason: messages.ReasonDiverged}, true},
		"found out later, and waits":   {resync.Journal{Phase: messages.PhaseWaiting, Reason: messages.ReasonWALGone, Diverged: true}, true},
		"diverged, and was replaced":   {resync.Journal{Phase: messages.PhaseIdle, Reason: messages.ReasonDiverged, Diverged: true}, false},
		"failed for some other reason": {resync.Journal{Phase: messages.PhaseWaiting, Reason: messages.ReasonWALGone}, false},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
				s.j = tt.before
				s.j.V = 1
				must(t, s.Trigger(ctx, messages.TriggerTarget{Node: w.cfg.Node}, messages.Trigger{V: 1}, time.Now()))
				if j := w.journal(t); j.Diverged != tt.want || j.Reason != messages.ReasonRequested {
					t.Errorf("got diverged %v by reason %s, want %v", j.Diverged, j.Reason, tt.want)
				}
			})
		})
	}
}
