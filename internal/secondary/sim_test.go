package secondary

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

func newWorld() *world {
	w := &world{
		mu: &sync.Mutex{}, connections: simConnections,
		cfg: Config{
			Cluster: "main", Node: "db2", Dataset: "tank/pg", Lineage: "tank/pgresync/main", StageDir: "/run/stage",
			PrimaryConninfo: "user=r", KeepFiles: []string{"pg_hba.conf"}, AutoResync: true, CheckInterval: 5 * time.Second,
			ProveTimeout: 30 * time.Second, SnapshotMaxAge: 5 * time.Minute, KeepPasses: 2, BudgetPerDay: 20, SameFailure: 20, Pace: resync.Pace{Min: 10 * time.Second, Max: 30 * time.Minute},
			Diagnosis: plan.Policy{Debounce: 30 * time.Second, RejoinPromoted: plan.RejoinTrigger, Restart: plan.RestartCrashed},
			Converge:  plan.ConvergePolicy{MaxPasses: 5, Short: 10 * time.Second, Rate: 50 << 20},
		},
		pool: map[messages.Dataset]*fileSystem{}, pub: newPublisher(), ids: 100, moved: map[messages.GUID]int{},
		strikes: map[int]blow{}, increment: 1 << 20,
	}
	w.pool["tank"] = &fileSystem{guid: 1, local: map[string]string{"mountpoint": "none"}}
	w.pool["tank/home"] = &fileSystem{guid: 2, local: map[string]string{"mountpoint": "/home"}}
	w.foreign = []messages.Dataset{"tank", "tank/home"}
	return w
}

func (w *world) journal(t *testing.T) resync.Journal {
	t.Helper()
	root := w.pool[w.cfg.Lineage]
	if root == nil {
		return resync.NewJournal()
	}
	j, err := readJournal(root.local)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// happy is the end of a good story.
func (w *world) happy(t *testing.T) bool {
	t.Helper()
	return w.settled() && w.journal(t).Phase == messages.PhaseIdle && len(w.leftovers()) == 0
}

// alarmed is the end of one that only a person can go on with.
func (w *world) alarmed(t *testing.T) bool {
	t.Helper()
	j := w.journal(t)
	stray := slices.ContainsFunc(w.leftovers(), func(s string) bool { return strings.HasPrefix(s, "slot") })
	return j.Phase == messages.PhaseNeedsOperator && j.Remedy != "" && !stray
}

// run lets sidecars live one after the other until done, or until there has been
// time enough.
func (w *world) run(t *testing.T, trigger bool, done func() bool) bool {
	t.Helper()
	sent := time.Time{}
	if trigger {
		sent = time.Now()
	}
	deadline := time.Now().Add(2 * time.Hour)
	for time.Now().Before(deadline) {
		if w.oneLife(t, &sent, deadline, done) {
			return true
		}
	}
	return false
}

func (w *world) oneLife(t *testing.T, sent *time.Time, deadline time.Time, done func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.life = &life{end: cancel}
	h := hand{w, w.life}
	out := io.Discard
	if os.Getenv("SIM_LOG") != "" {
		out = t.Output()
	}
	if w.log != nil {
		out = w.log
	}
	d := Deps{
		ZFS: zfsHand{h}, Database: dbHand{h}, Postgres: pgHand{h}, Processes: w, Hooks: &w.hooks, Primary: pubHand{h}, Downloads: pubHand{h}, Estimates: pubHand{h},
		Announce: quiet{}, Now: time.Now, Log: zerolog.New(out), Observe: w.observe, Diagnostics: w.diagnostics,
	}
	if w.follows {
		d.Follower = dbHand{h}
	}
	if w.reclones {
		d.Reserver = pubHand{h}
	}
	if w.compares {
		d.Witness, d.Judge = dbHand{h}, pubHand{h}
	}
	svc := New(w.cfg, d)
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	finished := false
	for time.Now().Before(deadline) && ctx.Err() == nil && !finished {
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-ended:
			// As the supervisor does.
			go func() { ended <- svc.Run(ctx) }()
		}
		synctest.Wait()
		if ctx.Err() == nil && !sent.IsZero() && ready(svc) {
			// The broker delivers again until it is acknowledged.
			err := svc.Trigger(ctx, messages.TriggerTarget{Node: w.cfg.Node}, messages.Trigger{V: messages.Version}, *sent)
			if err == nil {
				*sent = time.Time{}
			}
			synctest.Wait()
		}
		w.mu.Lock()
		finished = ctx.Err() == nil && sent.IsZero() && done()
		w.mu.Unlock()
	}
	cancel()
	<-ended
	return finished
}

func ready(s *Service) bool {
	select {
	case <-s.Ready():
		return true
	default:
		return false
	}
}

// told plays a story and reports what went wrong, with all that was done.
func told(t *testing.T, s story, strikes map[int]blow, tune func(*world)) (points int) {
	t.Helper()
	w, problems := play(t, s, strikes, tune)
	for _, p := range problems {
		t.Error(p)
	}
	if len(problems) > 0 {
		t.Log(w.describe())
	}
	return w.points
}

// play tells a story with blows at some of its points.
func play(t *testing.T, s story, strikes map[int]blow, tune func(*world)) (w *world, problems []string) {
	t.Helper()
	if s.seeded && theSeeded == nil {
		seedOnce(t)
	}
	synctest.Test(t, func(t *testing.T) {
		w = newWorld()
		if s.seeded {
			w = theSeeded.clone()
			must(t, wait(t.Context(), time.Hour)) // later than the seed
		}
		if s.nested {
			w = nested(t)
		}
		if tune != nil {
			tune(w)
		}
		s.begin(w)
		if live := w.pool[w.cfg.Dataset.Child(w.pub.home)]; live != nil {
			w.had = live.content.pg
		}
		clear(w.moved)
		w.strikes, w.armed = strikes, true
		done := func() bool { return w.happy(t) }
		if s.operator {
			done = func() bool { return w.alarmed(t) }
		}
		ended := w.run(t, s.trigger, done)
		problems = w.verdict(t, s, ended)
	})
	return w, problems
}

// seedOnce makes the standby that most stories begin with.
func seedOnce(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if !w.run(t, false, func() bool { return w.happy(t) }) {
			t.Fatalf("the first seed did not come to an end\n%s", w.describe())
		}
		theSeeded = w
	})
}

// theSeeded is only ever cloned.
var theSeeded *world

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) verdict(t *testing.T, s story, ended bool) []string {
	t.Helper()
	problems := slices.Compact(w.broken)
	if !ended {
		j := w.journal(t)
		problems = append(problems, fmt.Sprintf("no end: phase %s, error %q, leftovers %v, %d left", j.Phase, j.Error, w.leftovers(), len(w.trace)))
		if pg := w.serving(); pg == nil {
			problems = append(problems, "PostgreSQL does not run")
		} else if why := w.streams(pg); why != "" {
			problems = append(problems, "it does not stream: "+why)
		}
	}
	for _, d := range w.foreign {
		if w.pool[d] == nil {
			problems = append(problems, fmt.Sprintf("I-2: foreign dataset %s is gone", d))
		}
	}
	for g, n := range w.moved {
		if n > 1 {
			problems = append(problems, fmt.Sprintf("I-11: snapshot %d was moved %d times", g, n))
		}
	}
	if j := w.journal(t); s.operator && ended && (j.Error == "" || j.Remedy == "") {
		problems = append(problems, fmt.Sprintf("it calls for an operator, and says %q, remedy %q", j.Error, j.Remedy))
	}
	if s.operator && ended && w.had != nil && !w.crashed && (w.up() == nil || w.pool[w.server.ds].content.pg != w.had) {
		problems = append(problems, "I-3: what the standby had does not run again")
	}
	if ended && !s.operator {
		problems = append(problems, w.bootsWell()...)
	}
	return problems
}

// bootsWell: the next boot must bring up the very same copy, whole.
func (w *world) bootsWell() []string {
	before, broken := w.serving(), len(w.broken)
	w.had = nil
	w.reset()
	w.server = nil
	w.startByOthers()
	if p := w.server; p == nil || w.pool[p.ds].content.pg != before {
		return []string{"after a boot another copy, or none, is in place"}
	}
	return w.broken[broken:]
}

func TestStoriesWithoutAFault(t *testing.T) {
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			t.Logf("%d points", told(t, s, nil, nil))
		})
	}
}
