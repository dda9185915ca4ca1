package secondary

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

const simHome messages.RelName = "main"

// nested is a standby that streams, with a dataset of its own for the data directory,
// inside of the top one.
func nested(t *testing.T) *world {
	t.Helper()
	w := newWorld()
	w.pub.home = simHome
	if !w.run(t, false, func() bool { return w.happy(t) }) {
		t.Fatalf("the first seed did not come to an end\n%s", w.describe())
	}
	must(t, wait(t.Context(), time.Hour))
	w.had = w.pool[w.cfg.Dataset.Child(simHome)].content.pg
	clear(w.moved)
	return w
}

// An encrypted dataset whose key nobody loaded is the only one that a boot did not
// mount. The empty directory that shows in its place is not the loss of its data.
func TestADataDirectoryThatIsNotMountedIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := nested(t)
		w.server = nil
		dir, mounts := simMounts[""]+"/"+simData, w.mounts
		w.mounts = nil
		for _, m := range mounts {
			if m.at != dir {
				w.mounts = append(w.mounts, m)
			}
		}
		var last messages.Event
		w.observe = func(e messages.Event) {
			if e.Type == messages.EventVerdict {
				last = e
			}
		}
		until := time.Now().Add(time.Hour)
		w.run(t, false, func() bool { return time.Now().After(until) })
		j := w.journal(t)
		if last.Verdict != messages.VerdictWait || j.Phase != messages.PhaseIdle || len(w.moved) > 0 || len(w.broken) > 0 {
			t.Fatalf("verdict %s, phase %s; want it to wait: %v\n%s", last.Verdict, j.Phase, w.broken, w.describe())
		}
		w.mounts, w.crashed = mounts, true
		w.cfg.Diagnosis.Restart = plan.RestartAlways
		if !w.run(t, false, func() bool { return w.happy(t) }) || w.serving() != w.had || len(w.moved) > 0 {
			t.Errorf("mounted, it is started: %v\n%s", w.broken, w.describe())
		}
	})
}

// What failed and is not mounted may have been promoted before a boot.
func TestAFailedCopyIsLookedIntoBeforeItGoes(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  messages.Reason
	}{
		"a standby":     {func(*world) {}, ""},
		"promoted":      {promotedHere, messages.ReasonPromoted},
		"never started": {func(w *world) { w.pool[w.cfg.Dataset].local["canmount"] = "noauto" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			begin := func(w *world) { tt.begin(w); w.server, w.mounts, w.crashed = nil, nil, true }
			resumes(t, begin, func(ctx context.Context, w *world, s *Service) {
				s.j.Phase, s.j.ID = messages.PhaseReverting, messages.ResyncID(w.pool[w.cfg.Dataset].local[messages.PropResync])
				err := s.removeFailed(ctx)
				if got := blockedBy(err); got != tt.want || (err == nil) != (w.pool[w.cfg.Dataset] == nil) {
					t.Errorf("got %v, blocked by %q, want %q\n%s", err, got, tt.want, w.describe())
				}
			})
		})
	}
}
