package secondary

import (
	"slices"
	"strings"
	"testing"
)

// A server that is killed while the new copy is being proven is started again, as
// the cheapest cure: to go back to the old copy would cost a second switch, and to
// wait for the deadline of the proof all of its time.
func TestAServerThatEndsInTheProofIsStartedAgain(t *testing.T) {
	i := slices.IndexFunc(stories(), func(s story) bool { return s.name == "increment" })
	s := stories()[i]
	w, problems := play(t, s, nil, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	at := proofPoint(w.trace)
	if at == 0 {
		t.Fatalf("no proof in the story:\n%s", w.describe())
	}
	told(t, s, map[int]blow{at: blowCrash}, func(w *world) {
		w.startFails = func(pg *pgData) error {
			if pg == w.had {
				w.breaks("the old copy was taken back")
			}
			return nil
		}
	})
}

// proofPoint is where the receiver of the new copy is asked about for the last time
// before the resync ends, counted from 1.
func proofPoint(trace []string) int {
	started := slices.Index(trace, "PostgreSQL has started")
	if started < 0 {
		return 0
	}
	n := slices.IndexFunc(trace[started+1:], func(s string) bool { return strings.HasPrefix(s, "ask about the receiver") })
	if n < 0 {
		return 0
	}
	// The first one is the check that it came up in recovery; the proof asks who it is.
	rest := trace[started+1+n+1:]
	m := slices.Index(rest, "ask who PostgreSQL is")
	return started + 1 + n + 1 + m + 1
}
