package plan_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestDiagnose(t *testing.T) {
	for _, tt := range saying {
		t.Run(tt.name, func(t *testing.T) {
			f := broken()
			tt.change(&f)
			got := plan.Diagnose(f, plan.Policy{RejoinPromoted: tt.policy}, now)
			if have := (opinion{got.Verdict, got.Reason}); have != tt.want {
				t.Fatalf("got %v (%s), want %v", have, got.Evidence, tt.want)
			}
			if text := got.Evidence + got.Remedy; got.Evidence == "" || !strings.Contains(text, tt.says) {
				t.Errorf("evidence %q, remedy %q: want a word of %q", got.Evidence, got.Remedy, tt.says)
			}
			if got.Cure != tt.cure {
				t.Errorf("cure %q, want %q", got.Cure, tt.cure)
			}
			if got.Verdict == messages.VerdictNeedsOperator && got.Remedy == "" {
				t.Error("needs an operator, but says not for what")
			}
		})
	}
}

// Every resync but that of missing data waits until its reason has held, and so does
// the alarm about a fail-over that may only be half done.
func TestDiagnoseDebounces(t *testing.T) {
	p := plan.Policy{Debounce: time.Minute}
	for _, tt := range saying {
		f := broken()
		tt.change(&f)
		p.RejoinPromoted = tt.policy
		first := plan.Diagnose(f, p, now)
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.v != messages.VerdictResync && tt.want != isNewer || tt.want.r == messages.ReasonNoData {
				if (opinion{first.Verdict, first.Reason}) != tt.want || first.Suspect != "" {
					t.Errorf("got %s(%s), suspect %q, want %v at once", first.Verdict, first.Reason, first.Suspect, tt.want)
				}
				return
			}
			if first.Verdict != messages.VerdictWait || first.Reason != messages.ReasonNotYetSure || first.Suspect != tt.want.r || !first.SuspectSince.Equal(now) {
				t.Fatalf("first: %s(%s), suspect %s since %v", first.Verdict, first.Reason, first.Suspect, first.SuspectSince)
			}
			f.Suspect, f.SuspectSince, f.Position = first.Suspect, first.SuspectSince, first.Position
			if d := plan.Diagnose(f, p, now.Add(59*time.Second)); d.Reason != messages.ReasonNotYetSure {
				t.Errorf("after 59 s: %s(%s)", d.Verdict, d.Reason)
			}
			if d := plan.Diagnose(f, p, now.Add(time.Minute)); (opinion{d.Verdict, d.Reason}) != tt.want || !d.SuspectSince.Equal(now) {
				t.Errorf("after 60 s: %s(%s), want %v", d.Verdict, d.Reason, tt.want)
			}
		})
	}
}

func TestSuspicionBeginsAnew(t *testing.T) {
	p := plan.Policy{Debounce: time.Minute}
	gone := broken()
	gone.Primary.OldestWAL = 91 * seg
	gone.Primary.Slots = nil
	for _, tt := range []struct {
		name  string
		prior messages.Reason
		since time.Time
		want  messages.Verdict
	}{
		{"not when the slot goes after the WAL", messages.ReasonWALGone, now.Add(-time.Hour), messages.VerdictResync},
		{"when the reason is another", messages.ReasonDiverged, now.Add(-time.Hour), messages.VerdictWait},
		{"when the clock was set back", messages.ReasonSlotLost, now.Add(time.Hour), messages.VerdictWait},
		{"when its begin was forgotten", messages.ReasonSlotLost, time.Time{}, messages.VerdictWait},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := gone
			f.Suspect, f.SuspectSince = tt.prior, tt.since
			d := plan.Diagnose(f, p, now)
			if d.Verdict != tt.want {
				t.Errorf("got %s(%s): %s", d.Verdict, d.Reason, d.Evidence)
			}
			if tt.want == messages.VerdictWait && !d.SuspectSince.Equal(now) {
				t.Errorf("suspected since %v, want now", d.SuspectSince)
			}
		})
	}
	f := broken()
	f.Receiver.Streaming, f.Suspect, f.SuspectSince = true, messages.ReasonWALGone, now.Add(-time.Hour)
	if d := plan.Diagnose(f, p, now); d.Suspect != "" || !d.SuspectSince.IsZero() {
		t.Errorf("a standby that streams is still suspected of %s", d.Suspect)
	}
}

func TestDiagnosisTellsThePosition(t *testing.T) {
	f := broken()
	if d := plan.Diagnose(f, plan.Policy{}, now); d.Position != at(90) {
		t.Errorf("running: %s, want %s", d.Position, at(90))
	}
	stops(&f)
	if d := plan.Diagnose(f, plan.Policy{}, now); d.Position != at(89) {
		t.Errorf("stopped: %s, want the minimum recovery point %s", d.Position, at(89))
	}
}

// Whatever is missing from the facts, the answer has evidence, and I-1 holds: no
// resync of a server out of recovery without policy and proof.
func TestDiagnoseAnyFacts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := broken()
		flip := func(name string) bool { return rapid.Bool().Draw(t, name) }
		stands(&f, messages.Timeline(rapid.IntRange(0, 4).Draw(t, "tli")), at(uint64(rapid.IntRange(40, 110).Draw(t, "lsn"))))
		f.DataPresent = flip("data")
		f.Receiver.Streaming, f.Receiver.Paused = flip("streaming"), flip("paused")
		f.Server = rapid.SampledFrom([]plan.ServerState{plan.ServerRunning, plan.ServerStopped, plan.ServerStarting, ""}).Draw(t, "server")
		f.StartFailures = rapid.IntRange(0, 3).Draw(t, "failures")
		f.Primary.OldestWAL = messages.LSN(rapid.Uint64Range(0, 110).Draw(t, "oldest")) * seg
		f.Primary.Streaming = flip("primary sees it")
		promoted := flip("promoted")
		if promoted {
			f.Local.Role, f.Receiver.InRecovery, f.Control.State = messages.RolePrimary, false, "in production"
		}
		local, control := *f.Local, *f.Control
		if flip("no local") {
			f.Local = nil
		}
		if flip("no receiver") {
			f.Receiver = nil
		}
		if flip("no control") {
			f.Control = nil
		}
		if flip("no slots") {
			f.Primary.Slots = nil
		}
		primary := f.Primary
		if flip("no primary") {
			f.Primary = nil
		}
		p := plan.Policy{RejoinPromoted: rapid.SampledFrom([]plan.RejoinPolicy{"", plan.RejoinNever, plan.RejoinTrigger, plan.RejoinAuto}).Draw(t, "policy")}
		d := plan.Diagnose(f, p, now)
		if d.Verdict == "" || d.Reason == "" || d.Evidence == "" {
			t.Fatalf("incomplete: %+v", d)
		}
		if d.Verdict != messages.VerdictResync {
			return
		}
		if f.Primary == nil {
			t.Fatalf("resync(%s) with nothing to copy from", d.Reason)
		}
		known := f.Local != nil || f.Receiver != nil || f.Control != nil
		if known && f.DataPresent && control.Timeline > primary.Identity.Timeline.Current {
			t.Fatalf("resync(%s) from an older timeline: %s", d.Reason, d.Evidence)
		}
		running := plan.Abandoned(local, primary) && f.Local != nil
		stopped := control.Timeline < primary.Identity.Timeline.Current && f.Local == nil && f.Control != nil
		if promoted && known && f.DataPresent && (p.RejoinPromoted != plan.RejoinAuto || !running && !stopped) {
			t.Fatalf("resync(%s) of a server out of recovery: %s", d.Reason, d.Evidence)
		}
	})
}

// What a copy would not cure, or what passes by itself, never begins one, whatever
// else is wrong (I-12).
func TestWhatIsNoReasonNeverBeginsAResync(t *testing.T) {
	for name, is := range map[string]func(t *rapid.T, f *plan.Facts){
		"no publisher": func(_ *rapid.T, f *plan.Facts) { f.Primary = nil },
		"another cluster": func(t *rapid.T, f *plan.Facts) {
			if rapid.Bool().Draw(t, "down") {
				f.Local = nil
			} else {
				f.Local.SystemID++
			}
			f.Control.SystemID++
		},
		"another major version": func(_ *rapid.T, f *plan.Facts) { f.Local.Version += 10000 },
		"a parameter that is too low": func(t *rapid.T, f *plan.Facts) {
			f.Local, f.StartFailureClass = nil, plan.FailureSettings
			f.StartFailures = rapid.IntRange(1, 9).Draw(t, "failures")
		},
		"a mistake in its configuration": func(t *rapid.T, f *plan.Facts) {
			f.Local, f.StartFailureClass = nil, plan.FailureOther
			f.StartFailures = rapid.IntRange(2, 9).Draw(t, "failures")
		},
		"a paused standby that is not ahead": func(_ *rapid.T, f *plan.Facts) { f.Receiver.Paused = true },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f := broken()
				// Not ahead of the primary: that is another log, which is a reason.
				stands(&f, messages.Timeline(rapid.IntRange(0, 3).Draw(t, "tli")), at(uint64(rapid.IntRange(40, 99).Draw(t, "lsn"))))
				f.Server = rapid.SampledFrom([]plan.ServerState{plan.ServerRunning, plan.ServerStopped, plan.ServerStarting, ""}).Draw(t, "server")
				f.Primary.OldestWAL = messages.LSN(rapid.Uint64Range(0, 110).Draw(t, "oldest")) * seg
				f.StartFailures = rapid.IntRange(0, 3).Draw(t, "failures so far")
				if rapid.Bool().Draw(t, "no slots") {
					f.Primary.Slots = nil
				}
				is(t, &f)
				p := plan.Policy{RejoinPromoted: plan.RejoinAuto, Restart: plan.RestartAlways}
				if d := plan.Diagnose(f, p, now); d.Verdict == messages.VerdictResync {
					t.Fatalf("resync(%s): %s", d.Reason, d.Evidence)
				}
			})
		})
	}
}
