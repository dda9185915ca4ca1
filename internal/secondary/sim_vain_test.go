package secondary

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// vain is a resync that an operator asks for, of a standby that streams; the publisher
// is away whenever cut says so, at the questions right before the stop. It returns the
// times of these.
func vain(t *testing.T, done func(*world) bool, cut func(w *world, times int) bool) (w *world, at []time.Time) {
	t.Helper()
	theSeededOnce(t)
	w = theSeeded.clone()
	must(t, wait(t.Context(), time.Hour))
	w.had = w.serving()
	asked := false
	w.happens = func(where string) {
		stopping := w.journal(t).Phase == messages.PhaseStopping
		if stopping && !asked && where == "ask the publisher for facts" {
			asked, at = true, append(at, time.Now())
			if cut(w, len(at)) {
				w.cutUntil = time.Now().Add(time.Second)
			}
		}
		asked = asked && stopping
	}
	if !w.run(t, true, func() bool { return done(w) }) {
		j := w.journal(t)
		t.Errorf("no end: phase %s, %s, %d times\n%s", j.Phase, j.Error, len(at), w.describe())
	}
	for _, p := range w.broken {
		t.Error(p)
	}
	return w, at
}

// A stop that asked in vain has stopped nothing: what the operator asked for is tried
// again, and the day's budget is charged once.
func TestAStopThatAskedInVainIsNoSwitch(t *testing.T) {
	begun := len(theSeededOnce(t).journal(t).Begun)
	synctest.Test(t, func(t *testing.T) {
		replaced := func(w *world) bool { return w.happy(t) && w.serving() != w.had }
		w, at := vain(t, replaced, func(_ *world, times int) bool { return times == 1 })
		if j := w.journal(t); len(at) != 2 || len(j.Begun)-begun != 1 || w.had.started != 1 {
			t.Errorf("stopped after %d questions, begun %d times, the old copy started %d times", len(at), len(j.Begun)-begun, w.had.started)
		}
	})
}

// However long it lasts, the tries get rarer.
func TestStopsThatAskInVainGetRarer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(170 * time.Minute)
		w, at := vain(t, func(*world) bool { return time.Now().After(until) }, func(*world, int) bool { return true })
		if n := len(at); n < 5 || n > 20 || at[n-1].Sub(at[n-2]) < w.cfg.Pace.Max/2 || w.serving() != w.had {
			t.Errorf("asked at %v, by %+v", at, w.journal(t))
		}
	})
}

// What is no absence is a loop, with the same end as before.
func TestStopsThatFailForAnotherReasonAreALoop(t *testing.T) {
	resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
		s.cfg.SameFailure = 3
		slotted(w, s)
		delete(w.pub.slots, s.j.Slot)
		tries := 0
		for ; s.j.Phase == messages.PhaseStopping && tries < 10; tries++ {
			must(t, s.act(ctx, s.journal()))
			must(t, s.act(ctx, s.journal())) // the way back
			if s.j.Phase == messages.PhaseWaiting {
				s.j.Phase, s.j.Slot = messages.PhaseStopping, "a_slot"
			}
		}
		if s.j.Phase != messages.PhaseNeedsOperator || tries != 3 || w.up() == nil {
			t.Errorf("phase %s after %d tries, %s", s.j.Phase, tries, s.j.Error)
		}
	})
}

// A switch that was taken back counts, however often the way back is begun: what it
// looks at first is as it was before by then. The standby was down before.
func TestAWayBackThatIsBegunAgainIsThatOfASwitch(t *testing.T) {
	begun := len(theSeededOnce(t).journal(t).Begun)
	s := storyOf(t, "stopped before, and proof fails once")
	for at, b := range map[string]blow{"the way back is whole": "", "slot: release": blowKill, "mount tank/pg": blowFail} {
		t.Run(at, func(t *testing.T) {
			struck := b == ""
			w, problems := play(t, s, map[int]blow{}, func(w *world) {
				w.happens = func(where string) {
					if where == at && w.journal(t).Phase == messages.PhaseReverting && !struck {
						struck, w.strikes[w.points+1] = true, b
					}
				}
			})
			if j := w.journal(t); !struck || len(problems) > 0 || len(j.Begun)-begun != 2 || j.Trigger || j.TakenBack {
				t.Errorf("struck %v, begun %d times, by a trigger still %v, taken back %v; %v\n%s", struck, len(j.Begun)-begun, j.Trigger, j.TakenBack, problems, w.describe())
			}
		})
	}
}

// A copy that cannot be destroyed for room is stopped for it ever more rarely, and not for
// ever.
func TestACopyThatCannotGoIsStoppedForItEverMoreRarely(t *testing.T) {
	s := storyOf(t, "no room, in place, the old copy cannot be removed")
	var stops []time.Time
	w, problems := play(t, s, nil, func(w *world) {
		w.cfg.SameFailure, w.cfg.BudgetPerDay = 5, 20
		w.happens = func(where string) {
			w.stuck = messages.ErrPermission // begin knows of another cause
			if where == "PostgreSQL has stopped" {
				stops = append(stops, time.Now())
			}
			if j := w.journal(t); j.Phase == messages.PhaseWaiting && !j.Due.After(stops[len(stops)-1]) {
				w.breaks("it waits until %s", j.Due)
			}
		}
	})
	if len(problems) > 0 || len(stops) != 5 {
		t.Fatalf("stopped at %v; %v\n%s", stops, problems, w.describe())
	}
	for i := 2; i < len(stops); i++ {
		if stops[i].Sub(stops[i-1]) <= stops[i-1].Sub(stops[i-2]) {
			t.Errorf("stopped at %v, want growing pauses", stops)
		}
	}
	if j := w.journal(t); !strings.Contains(j.Remedy, "it has failed 5 times in phase discarding") {
		t.Errorf("remedy %q", j.Remedy)
	}
}
