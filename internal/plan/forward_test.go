package plan_test

import (
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// farBehind streams, and would need 4096 s for what it lacks; an increment of 1 GiB
// takes one minute and 20 s.
func farBehind() (plan.Facts, plan.Policy) {
	f := broken()
	f.Receiver.Streaming = true
	f.Primary.Identity.LSN = at(90) + 4096<<20
	f.ReplayRate, f.Increment = 1<<20, 1<<30
	return f, plan.Policy{Forward: plan.ForwardPolicy{Enabled: true, Least: 10 * time.Minute, Rate: 50 << 20}}
}

func TestAStandbyFarBehindIsReplaced(t *testing.T) {
	lagging := opinion{messages.VerdictResync, messages.ReasonLagging}
	for _, tt := range []struct {
		name   string
		change func(*plan.Facts, *plan.Policy)
		want   opinion
		asks   bool // for an estimate
	}{
		{"an increment is quicker", func(*plan.Facts, *plan.Policy) {}, lagging, true},
		{"its operator did not wish it", func(_ *plan.Facts, p *plan.Policy) { p.Forward.Enabled = false }, isHealthy, false},
		{"the size of an increment is not known", func(f *plan.Facts, _ *plan.Policy) { f.Increment = 0 }, isHealthy, true},
		{"the increment is as large", func(f *plan.Facts, _ *plan.Policy) { f.Increment = 200 << 30 }, isHealthy, true},
		{"the increment is somewhat quicker only", func(f *plan.Facts, _ *plan.Policy) { f.Increment = 105 << 30 }, isHealthy, true},
		{"it is there soon", func(f *plan.Facts, _ *plan.Policy) { f.ReplayRate = 7 << 20 }, isHealthy, false},
		{"it is not behind", func(f *plan.Facts, _ *plan.Policy) { f.Primary.Identity.LSN = at(90) }, isHealthy, false},
		{"the speed of replay is not known", func(f *plan.Facts, _ *plan.Policy) { f.ReplayRate = 0 }, isHealthy, false},
		{"a paused standby", func(f *plan.Facts, _ *plan.Policy) { f.Receiver.Paused = true }, isHealthy, false},
		{"a delayed standby", func(f *plan.Facts, _ *plan.Policy) { f.Receiver.Delay = time.Hour }, isHealthy, false},
		{"it does not stream", func(f *plan.Facts, _ *plan.Policy) { f.Receiver.Streaming = false }, notStream, false},
		{"it follows a timeline of before", func(f *plan.Facts, _ *plan.Policy) { stands(f, 2, at(79)) }, isHealthy, false},
		{"no publisher", func(f *plan.Facts, _ *plan.Policy) { f.Primary = nil }, isHealthy, false},
		{"no receiver", func(f *plan.Facts, _ *plan.Policy) { f.Receiver = nil; f.Primary.Streaming = true }, isHealthy, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, p := farBehind()
			tt.change(&f, &p)
			if d := plan.Diagnose(f, p, now); (opinion{d.Verdict, d.Reason}) != tt.want {
				t.Errorf("got %s (%s): %s", d.Verdict, d.Reason, d.Evidence)
			}
			if asks := plan.WorthAnEstimate(f, p.Forward); asks != tt.asks {
				t.Errorf("asks for an estimate: %v, want %v", asks, tt.asks)
			}
		})
	}
}

func TestAStandbyFarBehindIsGivenTime(t *testing.T) {
	f, p := farBehind()
	p.Debounce = time.Minute
	first := plan.Diagnose(f, p, now)
	if first.Reason != messages.ReasonNotYetSure || first.Suspect != messages.ReasonLagging {
		t.Fatalf("at once: %s (%s)", first.Verdict, first.Reason)
	}
}
