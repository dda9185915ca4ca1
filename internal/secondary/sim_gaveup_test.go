package secondary

import (
	"testing"
	"testing/synctest"
	"time"
)

// A way back that was given up leaves two copies: the one before, set aside, and
// the one that was not proven, in its place. The next resync keeps the former for its
// operator and is not stopped by its name.
func TestAWayBackThatWasGivenUpIsInNobodysWay(t *testing.T) {
	if theSeeded == nil {
		seedOnce(t)
	}
	synctest.Test(t, func(t *testing.T) {
		w := theSeeded.clone()
		must(t, wait(t.Context(), time.Hour))
		clear(w.pub.slots)
		w.pub.write(10)
		had := w.pool[w.cfg.Dataset].content.pg
		w.had, w.keepHad = had, true
		w.mute = func(pg *pgData) bool {
			if pg == had {
				return false
			}
			// Somebody works in the new copy, longer than anybody tries to unmount it.
			w.stranger, w.strangerUntil, w.strangerHides = w.cfg.Dataset, time.Now().Add(time.Hour), true
			return true
		}
		if !w.run(t, false, func() bool { return w.alarmed(t) }) {
			t.Fatalf("no alarm\n%s", w.describe())
		}
		if at := w.find(had); at != w.cfg.old() {
			t.Fatalf("the copy before is %q, want it set aside\n%s", at, w.describe())
		}
		w.mute, w.strangerUntil = nil, time.Time{}
		if !w.run(t, true, func() bool { return w.happy(t) }) {
			t.Errorf("the operator's trigger changes nothing\n%s", w.describe())
		}
		if at := w.find(had); at == "" || at == w.cfg.old() || len(w.broken) > 0 {
			t.Errorf("the copy before is %q; %v\n%s", at, w.broken, w.describe())
		}
	})
}
