package secondary

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// managed lets a manager ask for a seed as often as it takes, start PostgreSQL and wait
// for the sidecar to let the old copy go, with blows at some points. It returns how
// many points there were.
func managed(t *testing.T, strikes map[int]blow, tune func(*world)) (points int) {
	t.Helper()
	theSeededOnce(t)
	synctest.Test(t, func(t *testing.T) {
		w := theSeeded.clone()
		w.pub.write(1)
		w.cfg.AutoResync, w.cfg.Diagnosis.Restart = false, plan.RestartNever
		s := seeding{w, t, nil}
		w.server, w.strikes, w.armed = nil, strikes, true
		if tune != nil {
			tune(w)
		}
		deadline, done := time.Now().Add(2*time.Hour), false
		for time.Now().Before(deadline) && !done {
			s.serveOnce(func(ctx context.Context) { done = s.manage(ctx, deadline) })
		}
		if !done {
			t.Errorf("no end: settled %v, left %v, journal %+v", s.settled(), s.leftovers(), s.journal(t))
		}
		for _, p := range w.broken {
			t.Error(p)
		}
		if t.Failed() {
			t.Log(w.describe())
		}
		points = w.points
	})
	return points
}

// serveOnce is serve for a sidecar that may die, or not even start.
func (s *seeding) serveOnce(test func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	s.svc = s.service(cancel)
	ended := make(chan error, 1)
	go func() { ended <- s.svc.Run(ctx) }()
	select {
	case <-s.svc.Ready():
		synctest.Wait()
		test(ctx)
		cancel()
		<-ended
	case <-ended:
		s.later(time.Second)
	}
}

// manage is the manager beside one life of the sidecar.
func (s *seeding) manage(ctx context.Context, deadline time.Time) bool {
	began := s.data(s.cfg.Dataset)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		s.mu.Lock()
		seeded, running := s.seeded(), s.up() != nil
		fine := s.settled() && len(s.leftovers()) == 0 && seeded
		s.mu.Unlock()
		switch {
		case fine:
			return true
		case running && seeded:
			s.later(10 * time.Second) // the sidecar will see it
		case running:
			// A boot started the old copy: the manager stops it, as it would for a new one.
			s.mu.Lock()
			s.server = nil
			s.mu.Unlock()
		case s.askWhile(ctx) == nil && s.data(s.cfg.Dataset) != began:
			s.start()
		default:
			s.later(10 * time.Second)
		}
	}
	return false
}

// seeded reports whether a handed over copy is in place. The caller holds the lock.
func (s *seeding) seeded() bool {
	fs := s.pool[s.cfg.Dataset]
	return fs != nil && fs.local[messages.PropSeeded] != ""
}

func (s *seeding) askWhile(ctx context.Context) error {
	r := messages.OperatorRequest{V: 1, HandOver: true}
	reply, err := s.svc.Resync(ctx, r)
	for err == nil && ctx.Err() == nil && (reply.Status == nil || reply.Status.Phase != messages.PhaseIdle) {
		s.later(time.Second)
		r.Resync = reply.Resync
		reply, err = s.svc.Resync(ctx, r)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func TestEveryPointOfASeed(t *testing.T) {
	points := managed(t, nil, nil)
	for i, v := range variants() {
		if v.blow == blowStart || strings.Contains(v.name, "unit true") {
			continue // who starts PostgreSQL beside the manager is the manager's business
		}
		t.Run(v.name, func(t *testing.T) {
			for at := 1 + i%*every; at <= points; at += *every {
				t.Run(fmt.Sprint(at), func(t *testing.T) { managed(t, map[int]blow{at: v.blow}, v.tune) })
			}
		})
	}
}
