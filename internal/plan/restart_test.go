package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestStoppedStandbyIsStartedAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Facts)
		policy plan.RestartPolicy
		want   plan.Cure
	}{
		{"one that crashed", func(*plan.Facts) {}, plan.RestartCrashed, plan.CureStart},
		{"one that was shut down is its operator's", func(f *plan.Facts) { f.Control.State = "shut down in recovery" }, plan.RestartCrashed, plan.CureNone},
		{"one that was shut down, where the policy says always", func(f *plan.Facts) { f.Control.State = "shut down in recovery" }, plan.RestartAlways, plan.CureStart},
		{"never, where something else starts PostgreSQL", func(*plan.Facts) {}, plan.RestartNever, plan.CureNone},
		{"not when it would leave recovery", func(f *plan.Facts) { f.StandbySignal = false }, plan.RestartAlways, plan.CureNone},
		{"not a former primary", func(f *plan.Facts) { f.Control.State = "in production" }, plan.RestartAlways, plan.CureNone},
		{"not one whose control file cannot be read", func(f *plan.Facts) { f.Control = nil }, plan.RestartAlways, plan.CureNone},
		{"not one that is starting", func(f *plan.Facts) { f.Server = plan.ServerStarting }, plan.RestartAlways, plan.CureNone},
		{"not one that diverged", func(f *plan.Facts) {
			f.Control.Timeline, f.Control.CheckpointLSN, f.Control.MinRecoveryTimeline = 2, at(90), 2
		}, plan.RestartAlways, plan.CureNone},
		{"first its slot is made again", func(f *plan.Facts) { f.Primary.Slots = nil }, plan.RestartAlways, plan.CureReserveSlot},
		{"not without a publisher", func(f *plan.Facts) { f.Primary = nil }, plan.RestartAlways, plan.CureNone},
		{"once more after a failure that nobody can class", func(f *plan.Facts) { f.StartFailures = 1 }, plan.RestartCrashed, plan.CureStart},
		{"not when settings are too low", func(f *plan.Facts) { f.StartFailures, f.StartFailureClass = 1, plan.FailureSettings }, plan.RestartCrashed, plan.CureNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := broken()
			stops(&f)
			f.StandbySignal = true
			tt.change(&f)
			p := plan.Policy{Restart: tt.policy, Debounce: time.Minute}
			first := plan.Diagnose(f, p, now)
			if first.Cure == plan.CureStart {
				t.Fatal("started at once: a unit that restarts by itself has no time to be first")
			}
			f.Suspect, f.SuspectSince = first.Suspect, first.SuspectSince
			d := plan.Diagnose(f, p, now.Add(time.Minute))
			if d.Cure != tt.want {
				t.Errorf("cure %q, want %q (%s)", d.Cure, tt.want, d.Evidence)
			}
			if tt.want == plan.CureStart && (d.Verdict != messages.VerdictWait || !strings.Contains(first.Evidence, "it is started in 1m0s")) {
				t.Errorf("got %s, first %q", d.Verdict, first.Evidence)
			}
		})
	}
}
