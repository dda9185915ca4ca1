package secondary

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// tracked lets a healthy standby live for two hours while the primary writes and
// takes a snapshot every half hour of its own accord.
func tracked(t *testing.T, tune func(*world), strikes map[int]blow) *world {
	t.Helper()
	if theSeeded == nil {
		seedOnce(t)
	}
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = theSeeded.clone()
		must(t, wait(t.Context(), time.Hour))
		w.cfg.CheckInterval = time.Minute // two hours of looking on
		tune(w)
		w.had, w.armed, w.strikes = w.pool[w.cfg.Dataset].content.pg, true, strikes
		server, until, next := w.server, time.Now().Add(2*time.Hour), time.Now()
		ended := w.run(t, false, func() bool {
			if now := time.Now(); now.After(next) {
				next = now.Add(30 * time.Minute)
				w.pub.write(1)
				w.pub.bracket()
			}
			return time.Now().After(until.Add(-time.Minute))
		})
		if !ended || w.server == nil || w.server.ds != server.ds || w.pool[w.cfg.Dataset].content.pg != w.had {
			t.Errorf("ended %v: PostgreSQL was touched", ended)
		}
		for _, p := range w.broken {
			t.Error(p)
		}
		for _, left := range w.leftovers() {
			t.Errorf("left: %s", left)
		}
		if n := len(w.pool[w.cfg.Lineage+"/data"].snaps); n > w.cfg.KeepPasses+1 {
			t.Errorf("the lineage has %d snapshots, want the passes to keep and the live copy's origin", n)
		}
	})
	return w
}

func newest(w *world) messages.GUID {
	snaps := w.pool[w.cfg.Lineage+"/data"].snaps
	return snaps[len(snaps)-1].guid
}

func TestTrackingKeepsTheBaseFresh(t *testing.T) {
	base := func(w *world) messages.GUID {
		d, _ := w.pub.shots[len(w.pub.shots)-1].Dataset("")
		return d.GUID
	}
	for name, tt := range map[string]struct {
		tune         func(*world)
		least, most  int
		brackets     int // that the standby asked for, at most
		upToDateThen bool
	}{
		"never":    {func(*world) {}, 0, 0, 0, false},
		"interval": {func(w *world) { w.cfg.TrackInterval = 20 * time.Minute }, 4, 7, 7, false},
		"interval, in a pool that is nearly full": {
			func(w *world) { w.cfg.TrackInterval, w.used = 20*time.Minute, 5<<40 }, 0, 0, 0, false,
		},
		"always": {func(w *world) { w.cfg.TrackAlways = true }, 4, 5, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(theSeededOnce(t).pub.shots)
			w := tracked(t, tt.tune, nil)
			passes := len(w.moved) / 2 // of two datasets that travel
			if passes < tt.least || passes > tt.most {
				t.Errorf("got %d passes in two hours, want %d to %d", passes, tt.least, tt.most)
			}
			if asked := len(w.pub.shots) - before - 4; asked > tt.brackets {
				t.Errorf("the primary was asked for %d snapshots, want at most %d", asked, tt.brackets)
			}
			if tt.upToDateThen && newest(w) != base(w) {
				t.Error("the lineage does not have the publisher's newest snapshot")
			}
		})
	}
}

// A pass that was cut is gone on with, and none is repeated.
func TestTrackingSurvives(t *testing.T) {
	for _, b := range []blow{blowKill, blowFail, blowCut, blowReset} {
		t.Run(string(b), func(t *testing.T) {
			for at := 10; at < 300; at += 97 {
				w := tracked(t, func(w *world) { w.cfg.TrackInterval, w.bootStarts = 20*time.Minute, true }, map[int]blow{at: b})
				for g, n := range w.moved {
					if n > 1 {
						t.Errorf("at %d: snapshot %d was moved %d times", at, g, n)
					}
				}
			}
		})
	}
}

func theSeededOnce(t *testing.T) *world {
	t.Helper()
	if theSeeded == nil {
		seedOnce(t)
	}
	return theSeeded
}

// A pass of a healthy standby may take hours, or wait for a network: what comes up
// meanwhile does not wait for it.
func TestTrackingKeepsNobodyWaiting(t *testing.T) {
	for name, tt := range map[string]struct {
		urgent func(s seeding)
		done   func(s seeding, before *pgData) bool
	}{
		"PostgreSQL is killed": {
			func(s seeding) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.server, s.crashed = nil, true
			},
			func(s seeding, before *pgData) bool { return s.serving() == before },
		},
		"its WAL is gone": {
			func(s seeding) {
				s.mu.Lock()
				defer s.mu.Unlock()
				clear(s.pub.slots)
				s.pub.write(10)
			},
			func(s seeding, before *pgData) bool { return s.happy(s.t) && s.serving() != before },
		},
		"an operator asks for a resync": {
			func(s seeding) {
				must(s.t, s.svc.Trigger(s.t.Context(), messages.TriggerTarget{Node: s.cfg.Node}, messages.Trigger{V: messages.Version}, time.Now()))
			},
			func(s seeding, before *pgData) bool { return s.happy(s.t) && s.serving() != before },
		},
	} {
		for what, hang := range map[string]func(*world){
			"a transfer": func(w *world) { w.hangs = 1 },
			"a snapshot": func(w *world) { w.hesitates = 1 },
		} {
			t.Run(name+", and tracking waits for "+what, func(t *testing.T) {
				theSeededOnce(t)
				synctest.Test(t, func(t *testing.T) {
					s := seeding{theSeeded.clone(), t, nil}
					s.cfg.TrackInterval = 20 * time.Minute
					hang(s.world)
					s.serve(func() {
						s.write()
						s.later(30 * time.Minute)
						before := s.data(s.cfg.Dataset)
						if s.hangs+s.hesitates > 0 || before == nil {
							t.Fatal("there is no pass that hangs")
						}
						tt.urgent(s)
						s.later(5 * time.Minute)
						s.mu.Lock()
						defer s.mu.Unlock()
						if !tt.done(s, before) {
							t.Errorf("five minutes later: phase %s\n%s", s.journal(t).Phase, s.describe())
						}
					})
				})
			})
		}
	}
}

// A standby that answers nobody's questions may be healthy, as its primary sees it.
func TestTrackingIsNotGivenUpForAStandbyThatNeverAnswers(t *testing.T) {
	s := New(Config{}, Deps{}) // there is nobody to ask
	if err := s.upset(t.Context(), plan.Facts{}); err != nil {
		t.Error(err)
	}
}

// What tracking received in part is not received again, by whatever comes next.
func TestAPassOfTrackingThatWasCutIsFinishedFirst(t *testing.T) {
	theSeededOnce(t)
	cut := func(strikes map[int]blow) *world {
		return tracked(t, func(w *world) { w.cfg.TrackInterval = 20 * time.Minute }, strikes)
	}
	at := slices.Index(cut(nil).trace, "received half of tank/pgresync/main/data")
	if at < 0 {
		t.Fatal("nothing was tracked")
	}
	w := cut(map[int]blow{at + 1: blowFail})
	rest := w.trace[at+1:]
	next := slices.IndexFunc(rest, func(where string) bool {
		return where == "ask the publisher for a snapshot" || where == "receive into tank/pgresync/main/data"
	})
	if next < 0 || rest[next] != "receive into tank/pgresync/main/data" {
		t.Errorf("another snapshot is asked for before the rest of the one that was cut")
	}
}
