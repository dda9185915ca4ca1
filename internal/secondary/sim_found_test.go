package secondary

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// TestWhatTheSimulationFound has a name for each of the defects that the simulation
// brought to light: a story, the point of it that matters, and the blow.
func TestWhatTheSimulationFound(t *testing.T) {
	boots := func(w *world) { w.bootStarts = true }
	for _, tt := range []struct {
		name, story, at string
		blow            blow
		tune            func(*world)
	}{
		{"a boot mounts the previous copy again, and a unit starts it", "increment", "rename tank/pg to tank/pg.pgresync-old, done", blowReset, boots},
		{"the sidecar dies when the copy that is given up is unmounted", "in place", "unmount tank/pg, done", blowKill, nil},
		{"the same where PostgreSQL was down before", "in place, stopped before", "unmount tank/pg, done", blowKill, nil},
		{"the same where the data directory has a dataset of its own", "nested, in place, stopped before", "unmount tank/pg/main, done", blowKill, nil},
		{"a boot between the two renames", "increment", "rename tank/pg.pgresync-next to tank/pg", blowReset, boots},
		{"a boot while diverged data is stopped: it is kept although its server only starts", "diverged", "PostgreSQL is stopping", blowReset, boots},
		{"a switch that is taken back does not take the operator's word away", "diverged", "start PostgreSQL", blowFail, nil},
		{"one failed look at pg_control is no case for an operator", "diverged", "read pg_control", blowFail, nil},
		{"the previous copy of a foreign standby is found without the publisher", "foreign", "stop PostgreSQL", blowCut, nil},
		{"the way back is tried for longer than a stranger stays", "a stranger in the way", "unmount tank/pg", blowFail, nil},
		{"PostgreSQL is started by somebody else right after it was stopped", "increment", "PostgreSQL has stopped", blowStart, nil},
		{"the sidecar dies between a deed and its word in the journal", "increment", "PostgreSQL has started", blowKill, nil},
		{
			"a copy without a transfer, and the sidecar dies before it knows its slot", "damaged, and the WAL since the last pass is there",
			"slot from an earlier position", blowKill, nil,
		},
		{"the lease moves while a copy is proven, and the sidecar dies before it follows", "fail-over while proving", "point it at another primary", blowKill, nil},
		{
			"another log, and the node is reset when its data is set aside", "another log on the same timeline",
			"rename tank/pg to tank/pg.pgresync-old, done", blowReset, boots,
		},
		{
			"a boot mounts the previous copy again, where it is promoted and ends before the sidecar is there", "increment",
			"rename tank/pg to tank/pg.pgresync-old, done", blowReset, promotedMeanwhile,
		},
		{
			"the same, under its own name", "increment", "unmount tank/pg, done", blowReset, promotedMeanwhile,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := storyOf(t, tt.story)
			calm, problems := play(t, s, nil, nil)
			at := slices.IndexFunc(calm.trace, func(where string) bool { return strings.HasPrefix(where, tt.at) })
			if len(problems) > 0 || at < 0 {
				t.Fatalf("without a blow: %v; point %q is there: %v", problems, tt.at, at >= 0)
			}
			told(t, s, map[int]blow{at + 1: tt.blow}, tt.tune)
		})
	}
}

// promotedMeanwhile is a sidecar that waits for NATS after a reset, while somebody promotes
// what the boot has mounted, writes to it, and shuts it down.
func promotedMeanwhile(w *world) {
	w.keepHad = true
	w.happens = func(string) {
		if _, is := w.mountedAt(w.find(w.had)); !w.crashed || !is || w.had.promoted {
			return
		}
		w.startByOthers()
		pg := w.had
		pg.signal, pg.promoted, pg.timeline, pg.fork, pg.state = false, true, w.pub.timeline+1, pg.at, "shut down"
		pg.at += 1 << 20
		w.server = nil
	}
}

// Nobody would ever have gone on with a copy that was set aside for its room, is whole,
// and could not be read once.
func TestOneFailedLookAtWhatGoesIsNotTheEnd(t *testing.T) {
	s := storyOf(t, "in place")
	calm, problems := play(t, s, nil, nil)
	gone := slices.Index(calm.trace, "destroy tank/pg.pgresync-old")
	if len(problems) > 0 || gone < 0 {
		t.Fatalf("without a blow: %v, and it goes: %v", problems, gone >= 0)
	}
	before := calm.trace[:gone]
	slices.Reverse(before)
	at := gone - 1 - slices.Index(before, "list tank/pg.pgresync-old")
	told(t, s, map[int]blow{at + 1: blowFail}, nil)
}

// Nothing is gone while it is only looked at, however often that fails.
func TestFailedLooksAtWhatIsToGoLeadBack(t *testing.T) {
	resumes(t, func(*world) {}, func(ctx context.Context, w *world, s *Service) {
		aside(w)
		s.resumed, s.j.Phase = true, messages.PhaseDiscarding
		looks := 0
		w.happens = func(where string) {
			if where != "list "+string(w.cfg.old()) {
				return
			}
			if looks++; looks > 1 {
				w.armed, w.strikes[w.points+1] = true, blowFail
			}
		}
		event, err := s.discardOld(ctx)
		if err != nil || event != resync.EventKept || looks < 2 {
			t.Errorf("got %s, %v after %d looks, want the way back", event, err, looks)
		}
	})
}
