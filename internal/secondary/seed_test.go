package secondary

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// seeding is a world in which somebody else starts PostgreSQL.
type seeding struct {
	*world
	t   *testing.T
	svc *Service
}

// withManager runs test beside a sidecar; seeded begins with a standby that
// streamed and was stopped.
func withManager(t *testing.T, seeded bool, test func(s seeding)) {
	t.Helper()
	if seeded {
		theSeededOnce(t)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if seeded {
			w = theSeeded.clone()
			w.pub.write(1)
			w.server = nil
		}
		w.cfg.AutoResync, w.cfg.Diagnosis.Restart = false, plan.RestartNever
		s := seeding{w, t, nil}
		s.serve(func() { test(s) })
		for _, p := range w.broken {
			t.Error(p)
		}
	})
}

func (s *seeding) service(end context.CancelFunc) *Service {
	s.life = &life{end: end}
	h := hand{s.world, s.life}
	return New(s.cfg, Deps{
		ZFS: zfsHand{h}, Database: dbHand{h}, Postgres: pgHand{h}, Processes: s.world, Hooks: &s.hooks, Primary: pubHand{h}, Downloads: pubHand{h},
		Announce: quiet{}, Now: time.Now, Log: zerolog.Nop(),
	})
}

func (s *seeding) serve(test func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	svc := s.service(cancel)
	s.svc = svc
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	<-svc.Ready()
	synctest.Wait()
	test()
	cancel()
	<-ended
}

func (s *seeding) later(d time.Duration) { must(s.t, wait(s.t.Context(), d)); synctest.Wait() }

// ask asks for a copy as `seed` does, until it is there.
func (s *seeding) ask() error {
	r := messages.OperatorRequest{V: 1, HandOver: true, DataDir: simMounts[""] + "/" + simData}
	reply, err := s.svc.Resync(s.t.Context(), r)
	for err == nil && (reply.Status == nil || reply.Status.Phase != messages.PhaseIdle) {
		s.later(time.Second)
		r.Resync = reply.Resync
		reply, err = s.svc.Resync(s.t.Context(), r)
	}
	return err
}

func (s *seeding) data(d messages.Dataset) *pgData {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fs := s.pool[d]; fs != nil {
		return fs.content.pg
	}
	return nil
}

// write is the primary's.
func (s *seeding) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pub.write(1)
}

// start is the manager's, who also has a slot of his own.
func (s *seeding) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startByOthers()
}

func TestSeedLeavesTheStartToItsAsker(t *testing.T) {
	withManager(t, false, func(s seeding) {
		if err := s.ask(); err != nil {
			t.Fatal(err)
		}
		s.later(10 * time.Minute)
		pg := s.data(s.cfg.Dataset)
		if pg == nil || !pg.signal || !pg.label || pg.slot != "" || s.up() != nil {
			t.Fatalf("the copy is %+v, the server %v; want a standby of nobody's slot, not started", pg, s.up())
		}
		if len(s.pub.slots) != 1 {
			t.Errorf("slots %v: want the one that bridges the time until the start", s.pub.slots)
		}
		s.start()
		s.later(time.Minute)
		if left := s.leftovers(); !s.settled() || len(left) > 0 || !s.journal(t).Proven {
			t.Errorf("settled %v, left %v, proven %v", s.settled(), left, s.journal(t).Proven)
		}
	})
}

func TestSeedKeepsThePreviousCopyUntilTheNewOneStreams(t *testing.T) {
	withManager(t, true, func(s seeding) {
		before := s.data(s.cfg.Dataset)
		if err := s.ask(); err != nil {
			t.Fatal(err)
		}
		s.later(10 * time.Minute)
		if s.data(s.cfg.old()) != before {
			t.Fatal("the previous copy went before the new one streamed (I-3)")
		}
		s.start()
		s.later(time.Minute)
		if left := s.leftovers(); !s.settled() || len(left) > 0 {
			t.Errorf("settled %v, left %v", s.settled(), left)
		}
	})
}

// A manager whose start does not succeed asks again and again.
func TestSeedsThatNeverStreamDoNotPileUp(t *testing.T) {
	withManager(t, true, func(s seeding) {
		before := s.data(s.cfg.Dataset)
		for range 4 {
			if err := s.ask(); err != nil {
				t.Fatal(err)
			}
			s.write()
			s.later(time.Minute)
		}
		if s.data(s.cfg.old()) != before {
			t.Error("the copy that streamed last was given up for one that never did (I-3)")
		}
		for name := range s.pool {
			if strings.Contains(string(name), ".pgresync-") && !strings.HasPrefix(string(name), string(s.cfg.old())) {
				t.Errorf("left: %s", name)
			}
		}
		s.start()
		s.later(time.Minute)
		if left := s.leftovers(); !s.settled() || len(left) > 0 {
			t.Errorf("settled %v, left %v", s.settled(), left)
		}
	})
}

// What streamed while no sidecar looked is told by its pg_control.
func TestSeedAfterOneThatStreamedUnseen(t *testing.T) {
	promote := func(pg *pgData, state string) {
		pg.promoted, pg.signal, pg.state, pg.timeline, pg.fork = true, false, state, pg.timeline+1, pg.at
	}
	for name, tt := range map[string]struct {
		then func(*pgData)
		kept string
	}{
		"streamed": {func(*pgData) {}, ""},
		"promoted": {func(pg *pgData) { promote(pg, "shut down") }, "diverged"},
		"promoted, and crashed before its checkpoint": {func(pg *pgData) { promote(pg, "in production"); pg.unsaved = true }, "diverged"},
		"promoted likewise, to be a standby again": {func(pg *pgData) {
			promote(pg, "in production")
			pg.unsaved, pg.signal = true, true
		}, "diverged"},
		"started by somebody as a primary": {func(pg *pgData) {
			pg.state, pg.signal, pg.at, pg.started = "in production", false, pg.stop, 0
		}, "diverged"},
	} {
		t.Run(name, func(t *testing.T) {
			withManager(t, true, func(s seeding) {
				if err := s.ask(); err != nil {
					t.Fatal(err)
				}
				first := s.data(s.cfg.Dataset)
				s.mu.Lock()
				first.started, first.state, first.at, first.streamed = 1, "in archive recovery", s.pub.lsn, true
				tt.then(first)
				s.mu.Unlock()
				if err := s.ask(); err != nil {
					t.Fatal(err)
				}
				if tt.kept == "" && s.data(s.cfg.old()) != first {
					t.Error("the copy that streamed is not the one to go back to")
				}
				synctest.Wait()
				found := false
				for d, fs := range s.pool {
					found = found || fs.content.pg == first && strings.Contains(string(d), ".pgresync-"+tt.kept+"-")
				}
				if tt.kept != "" && !found {
					t.Error("the copy that was promoted was not kept")
				}
				s.start()
				s.later(time.Minute)
				if left := s.leftovers(); !s.settled() || len(left) > 0 {
					t.Errorf("settled %v, left %v", s.settled(), left)
				}
			})
		})
	}
}

func TestSeedIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		tune func(s *seeding)
		want string
	}{
		"while PostgreSQL runs":      {func(s *seeding) { s.startByOthers() }, "stop it first"},
		"where we start PostgreSQL":  {func(s *seeding) { s.svc.cfg.AutoResync = true }, "by itself as well"},
		"when the publisher is away": {func(s *seeding) { s.cutUntil = time.Now().Add(time.Hour) }, "network is cut"},
		"while a resync runs": {func(s *seeding) {
			s.svc.j.Phase = messages.PhaseReceiving
			s.svc.j.ID = messages.NewResyncID(time.Now())
		}, "is receiving"},
		"for another directory": {func(s *seeding) { s.svc.cfg.Mountpoint = "/elsewhere" }, "asked for is"},
	} {
		t.Run(name, func(t *testing.T) {
			withManager(t, true, func(s seeding) {
				before := s.data(s.cfg.Dataset)
				s.mu.Lock()
				s.svc.mu.Lock()
				tt.tune(&s)
				s.svc.mu.Unlock()
				s.mu.Unlock()
				err := s.ask()
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				s.later(20 * time.Minute)
				if j := s.journal(t); j.Phase != messages.PhaseIdle && tt.want != "is receiving" {
					t.Errorf("phase %s: it is tried again although the asker has gone on", j.Phase)
				}
				if s.data(s.cfg.Dataset) != before && tt.want != "is receiving" {
					t.Error("the live copy was replaced")
				}
			})
		})
	}
}

func TestNothingIsSwitchedForAnAskerThatIsGone(t *testing.T) {
	withManager(t, true, func(s seeding) {
		before := s.data(s.cfg.Dataset)
		s.svc.cfg.Converge.Short = 0
		s.mu.Lock()
		s.pub.write(50)
		s.mu.Unlock()
		if _, err := s.svc.Resync(t.Context(), messages.OperatorRequest{V: 1, HandOver: true}); err != nil {
			t.Fatal(err)
		}
		s.svc.mu.Lock()
		s.svc.asker.at = s.svc.asker.at.Add(-time.Minute) // the transfer took that long
		s.svc.mu.Unlock()
		s.later(10 * time.Minute)
		if j := s.journal(t); j.Phase != messages.PhaseIdle || !strings.Contains(j.Error, "gone") {
			t.Errorf("phase %s, error %q", j.Phase, j.Error)
		}
		if s.data(s.cfg.Dataset) != before || s.data(s.cfg.old()) != nil {
			t.Error("the live copy was replaced")
		}
	})
}

// While the engine diagnoses after a seed that failed, its asker learns of the failure
// and asks again, or an operator triggers a resync. What the engine had seen by then
// must not end it.
func TestWhatIsAskedForWhileTheEngineLooksIsNotLost(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, s *Service) error{
		"a seed": func(ctx context.Context, s *Service) error {
			_, err := s.handOver(ctx, messages.OperatorRequest{V: 1, HandOver: true})
			return err
		},
		"a trigger": func(ctx context.Context, s *Service) error {
			return s.Trigger(ctx, messages.TriggerTarget{Node: s.cfg.Node}, messages.Trigger{V: messages.Version}, time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			theSeededOnce(t)
			synctest.Test(t, func(t *testing.T) {
				w := theSeeded.clone()
				w.server = nil
				w.cfg.AutoResync, w.cfg.Diagnosis.Restart = false, plan.RestartNever
				s := seeding{w, t, nil}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				svc := s.service(cancel)
				svc.j = w.journal(t)
				svc.j.ID, svc.j.Phase, svc.j.HandOver, svc.j.Error = messages.NewResyncID(time.Now()), messages.PhaseWaiting, true, "it failed"
				seen := svc.journal()
				if err := ask(ctx, svc); err != nil {
					t.Fatal(err)
				}
				if again, err := svc.attend(ctx, seen); err != nil || !again {
					t.Errorf("again %v, %v", again, err)
				}
				if j := svc.journal(); j.Phase != messages.PhaseRequested || j.ID == seen.ID || w.journal(t).ID != j.ID {
					t.Errorf("phase %s of %s, want what was asked for since", j.Phase, j.ID)
				}
			})
		})
	}
}

// Who is told that it went well starts PostgreSQL on whatever is there.
func TestASeedWithoutACopyIsNoSuccess(t *testing.T) {
	withManager(t, true, func(s seeding) {
		id := messages.NewResyncID(time.Now())
		s.svc.mu.Lock()
		s.svc.j.ID, s.svc.j.HandOver = id, true
		s.svc.mu.Unlock()
		_, err := s.svc.Resync(t.Context(), messages.OperatorRequest{V: 1, HandOver: true, Resync: id})
		if !errors.Is(err, messages.ErrRefused) {
			t.Errorf("got %v, want a refusal: the live copy is of another resync", err)
		}
	})
}

func TestSeedWithoutAService(t *testing.T) {
	theSeededOnce(t)
	synctest.Test(t, func(t *testing.T) {
		w := theSeeded.clone()
		w.pub.write(1)
		w.server = nil
		s := seeding{w, t, nil}
		before := s.data(w.cfg.Dataset)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		svc := s.service(cancel)
		if err := svc.Seed(ctx, messages.OperatorRequest{V: 1, HandOver: true}); err != nil {
			t.Fatal(err)
		}
		if s.up() != nil || s.data(w.cfg.old()) != before || s.data(w.cfg.Dataset) == before {
			t.Fatal("want the new copy in place, the old one beside it, and nothing started")
		}
		w.cutUntil = time.Now().Add(time.Minute)
		if err := s.service(cancel).Seed(ctx, messages.OperatorRequest{V: 1, HandOver: true}); !errors.Is(err, messages.ErrRefused) {
			t.Errorf("got %v, want a refusal", err)
		}
		s.later(2 * time.Minute)
		s.start()
		w.cfg.AutoResync, w.cfg.Diagnosis.Restart = false, plan.RestartNever
		s.serve(func() { s.later(time.Minute) })
		if left := s.leftovers(); !s.settled() || len(left) > 0 {
			t.Errorf("after a run of the service: settled %v, left %v", s.settled(), left)
		}
	})
}

// A seed that was cut leaves a branch that is nothing but a partial receive. The
// housekeeping between two seeds does not take it for a spare one.
func TestSeedThatWasCutIsGoneOnWith(t *testing.T) {
	play := func(t *testing.T, strikes map[int]blow, asked func(s seeding, err error)) {
		t.Helper()
		withManager(t, true, func(s seeding) {
			s.mu.Lock()
			s.pub.shots = nil // nothing in common: a new branch
			clear(s.pub.contents)
			clear(s.moved)
			s.strikes, s.armed = strikes, true
			s.mu.Unlock()
			err := s.ask()
			s.mu.Lock()
			s.armed = false
			s.mu.Unlock()
			asked(s, err)
		})
	}
	half := 0
	play(t, nil, func(s seeding, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		half = 1 + slices.IndexFunc(s.trace, func(where string) bool { return strings.HasPrefix(where, "received half of") })
		if err != nil || half == 0 {
			t.Fatalf("without a cut: %v, nothing was received: %t", err, half == 0)
		}
	})
	play(t, map[int]blow{half: blowFail}, func(s seeding, err error) {
		if err == nil {
			t.Fatal("it was not cut")
		}
		s.later(tidyEvery + time.Minute)
		if err := s.ask(); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		first, _ := s.pub.shots[0].Dataset("")
		if s.moved[first.GUID] != 1 {
			t.Errorf("the first snapshot was received %d times, want the second seed to go on with it", s.moved[first.GUID])
		}
	})
}
