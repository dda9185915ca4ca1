package plan_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestApartReadsTheAnswers(t *testing.T) {
	agrees, differs, unknown := messages.WALAnswer{Verdict: messages.WALAgrees}, messages.WALAnswer{Verdict: messages.WALDiffers, Why: "other bytes"},
		messages.WALAnswer{Verdict: messages.WALUnknown, Why: "gone"}
	for _, tt := range []struct {
		name    string
		answers []messages.WALAnswer
		want    string
		told    bool
	}{
		{"no answers", nil, "", false},
		{"nothing is known", []messages.WALAnswer{unknown, unknown}, "", false},
		{"one agrees", []messages.WALAnswer{unknown, agrees}, "", true},
		{"one difference is proof, whatever agrees", []messages.WALAnswer{agrees, differs, agrees}, "other bytes", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, told := plan.Apart(tt.answers); got != tt.want || told != tt.told {
				t.Errorf("got %q, %v, want %q, %v", got, told, tt.want, tt.told)
			}
		})
	}
}

// A primary that lost what it had sent is soon ahead again, and the standby's
// position tells nothing any more. That it was ahead once is remembered.
func TestAheadOnceIsAheadForEver(t *testing.T) {
	p := plan.Policy{Debounce: time.Minute}
	f := broken()
	first := plan.Diagnose(f, p, now)
	next := func(d plan.Diagnosis, primary messages.LSN, at time.Duration) plan.Diagnosis {
		f := broken()
		f.Primary.Identity.LSN = primary
		f.Suspect, f.SuspectSince, f.Position, f.Ahead = d.Suspect, d.SuspectSince, d.Position, d.Ahead
		return plan.Diagnose(f, p, now.Add(at))
	}
	second := next(first, at(89), 5*time.Second) // restored from a moment before
	if second.Ahead != at(90) || second.Suspect != messages.ReasonDiverged {
		t.Fatalf("got %+v, want it ahead at %s", second, at(90))
	}
	later := next(second, at(120), time.Minute+5*time.Second)
	if (opinion{later.Verdict, later.Reason}) != isDiverged || !strings.Contains(later.Evidence, at(90).String()) {
		t.Errorf("once the primary has written on: %s (%s): %s", later.Verdict, later.Reason, later.Evidence)
	}
}

// Where a standby stands behind a switch, at least the start of the segment that it
// switched from is written.
func TestAheadByASegmentBehindASwitch(t *testing.T) {
	f := broken()
	stands(&f, 3, 90*seg)
	f.Position, f.Primary.Identity.LSN = 90*seg, at(88)
	if d := plan.Diagnose(f, plan.Policy{}, now); d.Ahead != 90*seg || d.Reason != messages.ReasonDiverged {
		t.Errorf("ahead at %s (%s: %s), want it diverged at %s", d.Ahead, d.Reason, d.Evidence, messages.LSN(90*seg))
	}
}

// A healthy standby replays a snapshot's switch before its primary has written the
// rest of the segment.
func TestASwitchIsNoDivergence(t *testing.T) {
	for _, streaming := range []bool{true, false} {
		f := broken()
		stands(&f, 3, 90*seg)
		f.Receiver.Streaming = streaming
		f.Primary.Identity.LSN = at(89)
		if d := plan.Diagnose(f, plan.Policy{}, now); d.Reason == messages.ReasonDiverged {
			t.Errorf("streaming %v: %s: %s", streaming, d.Reason, d.Evidence)
		}
	}
}

func TestAheadByHearsayIsNotAhead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Facts)
	}{
		{"streamed on since the primary was asked", func(f *plan.Facts) { f.Position = at(99); stands(f, 3, at(101)); f.Receiver.Streaming = true }},
		{"the position is of before a crash that took it back", func(f *plan.Facts) { f.Position, f.Primary.Identity.LSN = at(95), at(94) }},
		{"the primary is another one, on a newer timeline", func(f *plan.Facts) { stands(f, 2, at(79)); f.Position = at(79); f.Primary.Identity.LSN = at(70) }},
		{"the primary is of another cluster", func(f *plan.Facts) { f.Position, f.Primary.Identity.LSN, f.Local.SystemID = at(90), at(50), 43 }},
		{"the publisher is no primary", func(f *plan.Facts) {
			f.Position, f.Primary.Identity.LSN, f.Primary.Identity.Role = at(90), at(50), messages.RoleStandby
		}},
		{"a switch that the primary is still writing", func(f *plan.Facts) {
			stands(f, 3, 90*seg)
			f.Receiver.Streaming = true
			f.Position, f.Primary.Identity.LSN = 90*seg, at(89)
		}},
		{"this node was promoted", func(f *plan.Facts) { promotes(f, 3, at(90)); f.Position, f.Primary.Identity.LSN = at(90), at(50) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := broken()
			tt.change(&f)
			if d := plan.Diagnose(f, plan.Policy{}, now); d.Ahead != 0 {
				t.Errorf("ahead at %s (%s: %s)", d.Ahead, d.Reason, d.Evidence)
			}
		})
	}
}

// A history in which nothing was lost never looks as if: a standby is only where its
// primary was before.
func TestAheadNeedsALoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		primary, standby := at(90), at(90)
		d := plan.Diagnosis{}
		for range rapid.IntRange(1, 20).Draw(t, "ticks") {
			f := broken()
			primary += messages.LSN(rapid.Uint64Range(0, 3*seg).Draw(t, "written"))
			f.Primary.Identity.LSN = primary
			// The standby is asked after the primary, which has written on by then.
			primary += messages.LSN(rapid.Uint64Range(0, seg).Draw(t, "written since"))
			back := messages.LSN(rapid.Uint64Range(0, seg).Draw(t, "crash"))
			standby += messages.LSN(rapid.Uint64Range(0, primary.Sub(standby)).Draw(t, "replayed"))
			if rapid.IntRange(0, 9).Draw(t, "crashes") == 0 {
				standby -= min(back, standby-at(80))
			}
			stands(&f, 3, standby)
			f.Receiver.Streaming = rapid.Bool().Draw(t, "streams")
			f.Position, f.Ahead = d.Position, d.Ahead
			if d = plan.Diagnose(f, plan.Policy{}, now); d.Ahead != 0 {
				t.Fatalf("ahead at %s: %s", d.Ahead, d.Evidence)
			}
		}
	})
}

func TestOnlyAStandbyOfTheSameClusterIsCompared(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Facts)
		want   bool
	}{
		{"a running standby", func(*plan.Facts) {}, true},
		{"a stopped standby", func(f *plan.Facts) { stops(f); f.StandbySignal = true }, true},
		{"a stopped server that would start as a primary", stops, false},
		{"no publisher", func(f *plan.Facts) { f.Primary = nil }, false},
		{"the publisher itself", func(f *plan.Facts) { f.Primary.Node = "db2" }, false},
		{"another cluster's", func(f *plan.Facts) { f.Local.SystemID = 43 }, false},
		{"one that was promoted", func(f *plan.Facts) { promotes(f, 3, at(90)) }, false},
		{"nothing there", func(f *plan.Facts) { stops(f); f.Control = nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := broken()
			tt.change(&f)
			if got := f.Comparable(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if plan.CompareAfter(false) >= plan.CompareAfter(true) {
		t.Error("a standby that streams is compared more often than one that does not")
	}
	claims := plan.ControlClaims(messages.ControlData{Timeline: 3, CheckpointLSN: at(88), RedoLSN: at(87), CheckpointTime: now})
	if len(claims) != 1 || claims[0].At != at(88) || claims[0].Redo != at(87) || claims[0].Time != now.Unix() {
		t.Errorf("of pg_control: got %+v", claims)
	}
	if claims := plan.ControlClaims(messages.ControlData{}); len(claims) != 0 {
		t.Errorf("of an unreadable pg_control: got %+v", claims)
	}
}
