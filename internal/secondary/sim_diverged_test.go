package secondary

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
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

// Nor is it given up for room.
func TestWhatThePublisherDoesNotHaveIsNotGivenUpForRoom(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  string
	}{
		"its WAL is gone":             {func(w *world) { clear(w.pub.slots); w.pub.write(10) }, ""},
		"it is past the fork":         {pastTheFork, "exists nowhere else"},
		"it is stopped past the fork": {func(w *world) { pastTheFork(w); w.server = nil }, "exists nowhere else"},
		"nobody can tell":             {func(w *world) { w.server, w.cutUntil = nil, time.Now().Add(time.Minute) }, "network is cut"},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, _ *world, s *Service) {
				l, err := s.readLive(ctx)
				must(t, err)
				err = s.discardable(ctx, l)
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
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

// What was known of a copy ends with it, and the next look is a moment away.
func TestATriggerRightAfterTheProofKnowsNothingOfTheOldCopy(t *testing.T) {
	for _, last := range []resync.Event{resync.EventProven, resync.EventHandedOver} {
		t.Run(string(last), func(t *testing.T) {
			resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
				s.j.Phase, s.j.Diverged = messages.PhaseProving, true
				if last == resync.EventHandedOver {
					s.j.Phase = messages.PhaseSwitching
				}
				s.verdict = plan.Diagnosis{Verdict: messages.VerdictResync, Reason: messages.ReasonDiverged}
				must(t, s.fire(ctx, last, nil))
				must(t, s.Trigger(ctx, messages.TriggerTarget{Node: w.cfg.Node}, messages.Trigger{V: 1}, time.Now()))
				if w.journal(t).Diverged {
					t.Error("the new copy is said to have diverged")
				}
			})
		})
	}
}

// promotedHere is an HA manager that took this node for the new primary, on timeline 2.
func promotedHere(w *world) {
	pg := w.serving()
	pg.signal, pg.promoted, pg.timeline, pg.fork, pg.state = false, true, 2, pg.at, "in production"
	pg.at += 1 << 20
}

// slotted lets s go on with a stop that an earlier run of the sidecar was about to make,
// whose slot keeps the WAL.
func slotted(w *world, s *Service) {
	s.resumed, s.j.Slot = true, "a_slot"
	w.pub.slots[s.j.Slot] = w.pub.shots[len(w.pub.shots)-1].StartLSN
}

// Between the word of an operator or of the policy and the stop there may be a restart,
// and a fail-over (I-1).
func TestAStopAfterARestartSparesThePrimary(t *testing.T) {
	auto := func(s *Service) { s.j.Reason, s.j.Trigger = messages.ReasonWALGone, false }
	for name, tt := range map[string]struct {
		begin   func(*world)
		tune    func(*Service)
		stops   bool
		passing bool
	}{
		"a standby":                 {func(*world) {}, func(*Service) {}, true, false},
		"no publisher answers":      {func(w *world) { promotedHere(w); w.cutUntil = time.Now().Add(time.Minute) }, func(*Service) {}, false, true},
		"it is the publisher":       {func(w *world) { promotedHere(w); w.pub.failOver("db2", w.pub.lsn) }, func(*Service) {}, false, false},
		"not abandoned, no trigger": {promotedHere, auto, false, false},
		"abandoned, no trigger": {func(w *world) {
			promotedHere(w)
			w.pub.failOver("db3", w.pub.lsn)
			w.pub.failOver("db4", w.pub.lsn)
		}, auto, true, false},
		"named, and another one is the primary": {promotedHere, func(*Service) {}, true, false},
		"it only starts, and no publisher answers": {func(w *world) {
			promotedHere(w)
			w.server.ready = time.Now().Add(time.Minute)
			w.cutUntil = time.Now().Add(time.Minute)
		}, func(*Service) {}, false, true},
		"it only starts, on the publisher's timeline": {func(w *world) {
			promotedHere(w)
			w.server.ready = time.Now().Add(time.Minute)
			w.pub.failOver("db3", w.pub.lsn)
		}, func(*Service) {}, false, false},
		"it only starts, on a timeline that was left": {func(w *world) {
			promotedHere(w)
			w.server.ready = time.Now().Add(time.Minute)
			w.pub.failOver("db3", w.pub.lsn)
			w.pub.failOver("db4", w.pub.lsn)
		}, auto, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, w *world, s *Service) {
				slotted(w, s)
				tt.tune(s)
				promoted := w.pool[w.server.ds].content.pg.promoted
				_, err := s.stop(ctx)
				if stopped := w.up() == nil; stopped != tt.stops || stopped != (err == nil) || passing(err) != tt.passing {
					t.Errorf("got %v, stopped %v; want %v", err, stopped, tt.stops)
				}
				if got := w.journal(t).Diverged; err == nil && got != promoted {
					t.Errorf("the journal says diverged %v, want %v", got, promoted)
				}
			})
		})
	}
}

func TestAStopAfterARestartIsSureOfTheWAL(t *testing.T) {
	resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
		slotted(w, s)
		delete(w.pub.slots, s.j.Slot)
		if _, err := s.stop(ctx); err == nil || w.up() == nil {
			t.Errorf("got %v, server %v; want it to run, for the new copy could not stream (I-8)", err, w.up())
		}
	})
}

// A hook that is told of the stop may take as long as a promotion.
func TestAPromotionDuringTheHookIsSeen(t *testing.T) {
	resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
		s.j.Consent = false
		s.hooks = hookFunc(func() { promotedHere(w) })
		if _, err := s.stop(ctx); blockedBy(err) != messages.ReasonPromoted || w.up() == nil {
			t.Errorf("got %v, server %v; want the new primary to run", err, w.up())
		}
	})
}

// So may the questions to the publisher.
func TestAPromotionDuringTheLastQuestionsIsSeen(t *testing.T) {
	for _, at := range []string{"ask the publisher for facts", "read the own log", "compare the logs"} {
		t.Run(at, func(t *testing.T) {
			resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
				s.j.Consent = false
				asked := false
				w.happens = func(where string) {
					if where == at && !asked {
						asked = true
						promotedHere(w)
					}
				}
				if _, err := s.stop(ctx); !asked || blockedBy(err) != messages.ReasonPromoted || w.up() == nil {
					t.Errorf("asked %v: got %v, server %v; want the new primary to run", asked, err, w.up())
				}
				if j := w.journal(t); !j.DownSince.IsZero() || j.Diverged {
					t.Errorf("journaled: %+v", j)
				}
			})
		})
	}
}

// The whole way. One that comes later still is found out when PostgreSQL is down, and
// it is started again as what it was.
func TestAPromotionDuringTheStopIsSeen(t *testing.T) {
	for _, at := range []string{"ask the publisher for facts", "stop PostgreSQL"} {
		t.Run(at, func(t *testing.T) {
			theSeededOnce(t)
			synctest.Test(t, func(t *testing.T) {
				w := theSeeded.clone()
				must(t, wait(t.Context(), time.Hour))
				clear(w.pub.slots)
				w.pub.write(10)
				w.had, w.keepHad = w.serving(), true
				started := w.had.started
				w.happens = func(where string) {
					if j := w.journal(t); where == at && j.Phase == messages.PhaseStopping && !w.had.promoted && w.serving() == w.had {
						promotedHere(w)
					}
				}
				alarmed := w.run(t, false, func() bool { return w.alarmed(t) })
				j := w.journal(t)
				if !alarmed || j.Blocked != messages.ReasonPromoted || !w.had.promoted || w.serving() != w.had || len(w.broken) > 0 {
					t.Errorf("want an alarm, and the new primary to run: phase %s, %s, %v\n%s", j.Phase, j.Error, w.broken, w.describe())
				}
				if again := w.had.started > started; again != (at == "stop PostgreSQL") {
					t.Errorf("started again: %v", again)
				}
			})
		})
	}
}

// Nor does it make a difference whether the sidecar lives to see it.
func TestAPromotionDuringAStopThatWasCutIsSeen(t *testing.T) {
	for _, name := range []string{"increment", "in place"} {
		for _, dies := range []string{"stop PostgreSQL", "PostgreSQL is stopping", "PostgreSQL has stopped"} {
			t.Run(name+"/"+dies, func(t *testing.T) {
				theSeededOnce(t)
				synctest.Test(t, func(t *testing.T) {
					w := theSeeded.clone()
					must(t, wait(t.Context(), time.Hour))
					storyOf(t, name).begin(w)
					w.had, w.keepHad = w.serving(), true
					killed := false
					w.happens = func(where string) {
						if where == "stop PostgreSQL" && !w.had.promoted {
							promotedHere(w)
						}
						if where == dies && !killed {
							killed = true
							w.life.die()
						}
					}
					alarmed := w.run(t, false, func() bool { return w.alarmed(t) })
					if j := w.journal(t); !killed || !alarmed || w.serving() != w.had || len(w.broken) > 0 {
						t.Errorf("want an alarm, and the new primary to run: phase %s, %s, %v\n%s", j.Phase, j.Error, w.broken, w.describe())
					}
				})
			})
		}
	}
}

// What ran when an earlier run of the sidecar was about to stop it is judged as if it
// ran still; what had ended by itself accepts no writes.
func TestAStopThatWasCutJudgesWhatIsDown(t *testing.T) {
	down := func(w *world) {
		w.pool[w.server.ds].content.pg.state = "shut down"
		w.server = nil
	}
	auto := func(s *Service) { s.j.Reason, s.j.Trigger = messages.ReasonWALGone, false }
	denied := func(s *Service) { auto(s); s.j.Consent = false }
	for name, tt := range map[string]struct {
		begin func(*world)
		tune  func(*Service)
		want  bool
	}{
		"nobody's consent":              {promotedHere, denied, false},
		"nobody's consent, it diverged": {promotedHere, func(s *Service) { denied(s); s.j.Diverged = true }, false},
		"nobody's consent, it ended":    {promotedHere, func(s *Service) { denied(s); s.j.DownSince = time.Time{} }, true},
		"named":                         {promotedHere, func(*Service) {}, true},
		"not abandoned, by policy":      {promotedHere, auto, false},
		"abandoned, by policy": {func(w *world) {
			promotedHere(w)
			w.pub.failOver("db3", w.pub.lsn)
			w.pub.failOver("db4", w.pub.lsn)
		}, auto, true},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, func(w *world) { tt.begin(w); down(w) }, func(ctx context.Context, w *world, s *Service) {
				slotted(w, s)
				s.j.DownSince = time.Now()
				tt.tune(s)
				_, err := s.stop(ctx)
				if (err == nil) != tt.want || err != nil && blockedBy(err) != messages.ReasonPromoted || err == nil && !w.journal(t).Diverged {
					t.Errorf("got %v, diverged %v; want it to go on: %v", err, w.journal(t).Diverged, tt.want)
				}
			})
		})
	}
}

type hookFunc func()

func (f hookFunc) Run(context.Context, Hook, map[string]string) error { f(); return nil }

// What was started and promoted under its new name is kept by a mark, and by the journal.
func TestAStrayThatWasPromotedIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		begin   func(*world)
		happens func(*world, string)
		want    bool
	}{
		"a standby":                             {func(*world) {}, func(*world, string) {}, false},
		"a standby that ended":                  {func(w *world) { ended(w, "shut down in recovery") }, func(*world, string) {}, false},
		"a standby that was reset":              {func(w *world) { ended(w, "in archive recovery") }, func(*world, string) {}, false},
		"promoted":                              {promotedHere, func(*world, string) {}, true},
		"promoted, and ended before we looked":  {func(w *world) { promotedHere(w); ended(w, "shut down") }, func(*world, string) {}, true},
		"promoted, and reset before we looked":  {func(w *world) { promotedHere(w); ended(w, "in production") }, func(*world, string) {}, true},
		"handed over, and never started":        {neverStarted, func(*world, string) {}, false},
		"ended, and nobody can read pg_control": {func(w *world) { ended(w, "shut down in recovery") }, blindAt("read pg_control"), true},
		"promoted when it is stopped": {func(*world) {}, func(w *world, where string) {
			if where == "stop PostgreSQL" {
				promotedHere(w)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, w *world, s *Service) {
				aside(w)
				w.happens = func(where string) { tt.happens(w, where) }
				must(t, s.freeOld(ctx))
				if marks := w.pool[w.cfg.old()].local; w.up() != nil || (marks[messages.PropDiverged] != "") != tt.want {
					t.Errorf("server %v, marks %v", w.up(), marks)
				}
				if got := w.journal(t).Diverged; got != tt.want {
					t.Errorf("the journal says diverged %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// What somebody promoted and stopped is put back, and left to its operator; what the
// sidecar stopped is started again as what it was.
func TestAWayBackStartsNoSecondPrimary(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  bool
	}{
		"a standby that ended":                 {func(w *world) { ended(w, "shut down in recovery") }, true},
		"a standby that runs":                  {func(*world) {}, true},
		"promoted":                             {promotedHere, true},
		"promoted, and ended before we looked": {func(w *world) { promotedHere(w); ended(w, "shut down") }, false},
		"promoted, and reset before we looked": {func(w *world) { promotedHere(w); ended(w, "in production") }, false},
	} {
		for _, renamed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, renamed already %v", name, renamed), func(t *testing.T) {
				resumes(t, tt.begin, func(ctx context.Context, w *world, s *Service) {
					w.had, w.keepHad = w.pool[w.cfg.Dataset].content.pg, true
					s.resumed, s.j.Phase, s.j.DownSince = true, messages.PhaseSwitching, time.Now()
					if renamed {
						aside(w)
						must(t, s.freeOld(ctx))
					} else if l, err := s.readLive(ctx); err != nil || w.server == nil && s.setAside(ctx, l) != nil {
						t.Fatal("not set aside")
					}
					s.j.Phase = messages.PhaseReverting
					_, err := s.revert(ctx)
					must(t, err)
					if w.find(w.had) != w.cfg.Dataset || (w.up() != nil) != tt.want {
						t.Errorf("%q, runs %v, want %v", w.find(w.had), w.up() != nil, tt.want)
					}
				})
			})
		}
	}
}

// ended is a server that is down before anybody looks; its datasets stay mounted.
func ended(w *world, state string) {
	w.pool[w.server.ds].content.pg.state = state
	w.server = nil
}

// neverStarted is a copy that was handed over: its pg_control came with it.
func neverStarted(w *world) {
	fs := w.pool[w.cfg.Dataset]
	fs.local[messages.PropSeeded] = fs.local[messages.PropResync]
	fs.content.pg.timeline, fs.content.pg.at = w.pub.timeline, fs.content.pg.stop-1
	ended(w, "in production")
}

// blindAt fails every call of that name.
func blindAt(at string) func(*world, string) {
	return func(w *world, where string) {
		if w.armed = true; where == at {
			w.strikes[w.points+1] = blowFail
		}
	}
}

// A boot starts it under its own name as well, when the sidecar died before the rename.
func TestWhatWasPromotedBeforeItIsSetAsideIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  bool
	}{
		"a standby": {func(w *world) { ended(w, "shut down in recovery") }, false},
		"promoted":  {func(w *world) { promotedHere(w); ended(w, "shut down") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, w *world, s *Service) {
				s.resumed, s.j.Phase = true, messages.PhaseSwitching
				l, err := s.readLive(ctx)
				must(t, err)
				must(t, s.setAside(ctx, l))
				marked, journaled := w.pool[w.cfg.old()].local[messages.PropDiverged] != "", w.journal(t).Diverged
				if marked != tt.want || journaled != tt.want {
					t.Errorf("marked %v, journaled %v, want %v", marked, journaled, tt.want)
				}
			})
		})
	}
}

// What is found out right before the destroy counts: somebody mounted, started and
// promoted what was set aside for its room.
func TestWhatWasPromotedBeforeItIsDestroyedIsKept(t *testing.T) {
	for name, begin := range map[string]func(*world){
		"it ended before we looked": func(w *world) { promotedHere(w); ended(w, "shut down") },
		"when it is stopped": func(w *world) {
			w.happens = func(where string) {
				if where == "stop PostgreSQL" {
					promotedHere(w)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
				had := w.serving()
				begin(w)
				aside(w)
				s.resumed, s.j.Phase = true, messages.PhaseDiscarding
				event, err := s.discardOld(ctx)
				if j := s.journal(); err != nil || event != resync.EventKept || w.find(had) != w.cfg.old() || !j.Incurable || !j.Diverged {
					t.Errorf("got %s, %v, the copy is %q, journal %+v", event, err, w.find(had), j)
				}
			})
		})
	}
}

// aside renames the live copy, which runs, as nobody but a reset in between can.
func aside(w *world) {
	old := func(d messages.Dataset) messages.Dataset {
		rel, in := d.Rel(w.cfg.Dataset)
		if !in {
			return d
		}
		return w.cfg.old().Child(rel)
	}
	for _, d := range w.tree(w.cfg.Dataset) {
		w.pool[old(d)] = w.pool[d]
		delete(w.pool, d)
	}
	for i, m := range w.mounts {
		w.mounts[i].ds = old(m.ds)
	}
	if w.server == nil {
		return
	}
	w.server.ds = old(w.server.ds)
	for i, d := range w.server.parts {
		w.server.parts[i] = old(d)
	}
}

// The whole way: the sidecar was killed before the stop, the node promoted, and what the
// operator had asked for of a standby ends in his hands.
func TestAResumedStopLeavesThePrimaryAlone(t *testing.T) {
	theSeededOnce(t)
	synctest.Test(t, func(t *testing.T) {
		w := theSeeded.clone()
		must(t, wait(t.Context(), time.Hour))
		j := w.journal(t)
		j.ID, j.Phase, j.Reason, j.Trigger, j.Consent, j.HandOver = messages.NewResyncID(time.Now()), messages.PhaseStopping, messages.ReasonRequested, true, true, false
		packed, err := messages.PackProperty(&j)
		must(t, err)
		w.pool[w.cfg.Lineage].local[messages.PropJournal] = packed
		promotedHere(w)
		w.pub.failOver(w.cfg.Node, w.pub.lsn)
		w.had, w.keepHad = w.serving(), true
		staysUp(w)
		if !w.run(t, false, func() bool { return w.alarmed(t) }) || w.serving() != w.had || len(w.broken) > 0 {
			t.Errorf("want an alarm, and the primary as it was: %v\n%s", w.broken, w.describe())
		}
	})
}

// A deposed primary crashed, and its encrypted live copy is not mounted after the boot.
// It is of our making, and has writes that exist nowhere else.
func TestACopyThatIsNotMountedIsNotReplacedUnseen(t *testing.T) {
	theSeededOnce(t)
	synctest.Test(t, func(t *testing.T) {
		w := theSeeded.clone()
		must(t, wait(t.Context(), time.Hour))
		promotedHere(w)
		w.had, w.keepHad = w.serving(), true
		w.pub.write(3)
		mounts := w.mounts
		w.server, w.mounts, w.crashed = nil, nil, true
		if !w.run(t, true, func() bool { return w.alarmed(t) }) || len(w.moved) > 0 || w.find(w.had) != w.cfg.Dataset {
			t.Fatalf("want an alarm before anything moves\n%s", w.describe())
		}
		if j := w.journal(t); !strings.Contains(j.Remedy, "mount it") {
			t.Errorf("remedy %q", j.Remedy)
		}
		w.mounts = mounts
		if !w.run(t, true, func() bool { return w.happy(t) }) || len(w.broken) > 0 {
			t.Fatalf("mounted, it is replaced: %v\n%s", w.broken, w.describe())
		}
		if at := w.find(w.had); !strings.Contains(string(at), ".pgresync-diverged-") {
			t.Errorf("what it had is in %q", at)
		}
	})
}

// Nor is it when it was unmounted later than anybody looked.
func TestAStopKeepsACopyThatIsNotMounted(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  bool
	}{
		"mounted":                            {func(w *world) { w.server = nil }, false},
		"not mounted":                        {func(w *world) { w.server, w.mounts = nil, nil }, true},
		"ours, and without a mount point":    {func(w *world) { w.server, w.mounts = nil, nil; noMountpoint(w) }, true},
		"foreign, and without a mount point": {func(w *world) { w.server, w.mounts = nil, nil; noMountpoint(w); foreign(w) }, false},
		"there is none":                      {func(w *world) { w.server, w.mounts = nil, nil; noLive(w) }, false},
		"it is empty":                        {func(w *world) { w.server = nil; w.pool[w.cfg.Dataset].content.pg = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, _ *world, s *Service) {
				event, err := s.stop(ctx)
				if got := s.journal().Diverged; err != nil || event != resync.EventStopped || got != tt.want {
					t.Errorf("got %s, %v, diverged %v, want %v", event, err, got, tt.want)
				}
			})
		})
	}
}

func noMountpoint(w *world) { w.pool[w.cfg.Dataset].local["mountpoint"] = "none" }

func foreign(w *world) {
	for _, key := range []string{messages.PropCluster, messages.PropResync, messages.PropManifest} {
		delete(w.pool[w.cfg.Dataset].local, key)
	}
}

func noLive(w *world) {
	for _, d := range w.tree(w.cfg.Dataset) {
		delete(w.pool, d)
	}
}
