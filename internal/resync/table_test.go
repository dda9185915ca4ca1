package resync_test

import (
	"slices"
	"testing"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

var phases = []messages.Phase{
	messages.PhaseIdle, messages.PhaseRequested, messages.PhasePlanning, messages.PhaseReceiving,
	messages.PhaseClearing, messages.PhaseDiscarding, messages.PhaseStaging, messages.PhaseStopping, messages.PhaseSwitching, messages.PhaseStarting,
	messages.PhaseProving, messages.PhaseReverting, messages.PhaseWaiting, messages.PhaseNeedsOperator,
}

var events = []resync.Event{
	resync.EventRequested, resync.EventBegun, resync.EventPlanned, resync.EventAgain,
	resync.EventReceived, resync.EventCramped, resync.EventCleared, resync.EventDiscarded, resync.EventKept, resync.EventStaged, resync.EventStale, resync.EventStopped, resync.EventSwitched,
	resync.EventHandedOver, resync.EventStarted, resync.EventProven, resync.EventFailed, resync.EventIncurable, resync.EventReverted,
	resync.EventRevertedIncurable, resync.EventGaveUp, resync.EventDue, resync.EventCured, resync.EventCancelled,
}

// reach is every phase on some way from start along the rows.
func reach(start messages.Phase, rows []resync.Row) map[messages.Phase]bool {
	seen, todo := map[messages.Phase]bool{start: true}, []messages.Phase{start}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for _, r := range rows {
			if r.From == at && !seen[r.To] {
				seen[r.To], todo = true, append(todo, r.To)
			}
		}
	}
	return seen
}

func without(drop func(resync.Row) bool) []resync.Row {
	return slices.DeleteFunc(resync.Rows(), drop)
}

func TestOneRowPerPhaseAndEvent(t *testing.T) {
	seen := map[[2]string]bool{}
	for _, r := range resync.Rows() {
		key := [2]string{string(r.From), string(r.On)}
		if seen[key] {
			t.Errorf("two rows for %v", key)
		}
		seen[key] = true
		if got, ok := resync.Next(r.From, r.On); !ok || got != r {
			t.Errorf("Next(%s, %s) = %v, %v, want the row", r.From, r.On, got, ok)
		}
	}
	for _, p := range phases {
		for _, e := range events {
			if resync.Allows(p, e) != seen[[2]string{string(p), string(e)}] {
				t.Errorf("Allows(%s, %s) contradicts the table", p, e)
			}
		}
	}
}

func TestRowsUseKnownWordsAndSayWhy(t *testing.T) {
	used := map[resync.Event]bool{}
	for _, r := range resync.Rows() {
		used[r.On] = true
		if r.Why == "" {
			t.Errorf("%s on %s has no reason", r.From, r.On)
		}
		if !slices.Contains(phases, r.From) || !slices.Contains(phases, r.To) || !slices.Contains(events, r.On) {
			t.Errorf("row %v has an unknown word", r)
		}
	}
	for _, e := range events {
		if !used[e] {
			t.Errorf("event %s has no row", e)
		}
	}
}

func TestEveryPhaseIsReachable(t *testing.T) {
	got := reach(messages.PhaseIdle, resync.Rows())
	for _, p := range phases {
		if !got[p] {
			t.Errorf("%s cannot be reached from idle", p)
		}
	}
}

func TestNoTrap(t *testing.T) {
	for _, p := range phases {
		if !reach(p, resync.Rows())[messages.PhaseIdle] {
			t.Errorf("idle cannot be reached from %s", p)
		}
	}
}

// A restart finds only the phase in the journal: what it does again must be what
// the row had begun.
func TestEveryPhaseIsResumable(t *testing.T) {
	for _, p := range phases {
		if resync.ActionOf(p) == resync.ActionNone {
			t.Errorf("%s has no action", p)
		}
	}
	if got := resync.ActionOf("nowhere"); got != resync.ActionNone {
		t.Errorf("an unknown phase has action %s", got)
	}
	for _, r := range resync.Rows() {
		if r.To == messages.PhaseIdle {
			if r.Do == resync.ActionLeave && r.On == resync.EventHandedOver {
				continue // touches nothing
			}
			if want := r.On == resync.EventProven; (r.Do == resync.ActionFinish) != want || r.Do != resync.ActionFinish && r.Do != resync.ActionForget {
				t.Errorf("%s on %s does %s: only a proven copy lets the old one go (I-3)", r.From, r.On, r.Do)
			}
			continue
		}
		if r.Do != resync.ActionOf(r.To) {
			t.Errorf("%s on %s does %s, a restart in %s does %s", r.From, r.On, r.Do, r.To, resync.ActionOf(r.To))
		}
	}
}

// The safety property: nothing destructive before the replacement is verified and
// PostgreSQL is stopped.
func TestNothingIsTouchedBeforeItsPrecondition(t *testing.T) {
	for _, tt := range []struct {
		name   string
		needs  resync.Event
		closed []messages.Phase
	}{
		{
			"PostgreSQL is stopped only after staging is done", resync.EventStaged,
			[]messages.Phase{messages.PhaseStopping, messages.PhaseSwitching, messages.PhaseStarting, messages.PhaseProving, messages.PhaseReverting},
		},
		{
			"datasets are renamed only after PostgreSQL is down", resync.EventStopped,
			[]messages.Phase{messages.PhaseSwitching, messages.PhaseStarting, messages.PhaseProving},
		},
		{
			"the new copy is started only after the switch", resync.EventSwitched,
			[]messages.Phase{messages.PhaseStarting, messages.PhaseProving},
		},
		{"proof follows a start", resync.EventStarted, []messages.Phase{messages.PhaseProving}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// What the modes for tight hosts do instead has a test of its own.
			got := reach(messages.PhaseIdle, without(func(r resync.Row) bool { return r.On == tt.needs || r.On == resync.EventCramped }))
			for _, p := range tt.closed {
				if got[p] {
					t.Errorf("%s is reachable without the event %s", p, tt.needs)
				}
			}
		})
	}
}

// In the modes for tight hosts, too, what goes was set aside before, by one way only.
func TestNothingIsDiscardedBeforeItIsCleared(t *testing.T) {
	for needs, closed := range map[resync.Event][]messages.Phase{
		resync.EventCramped: {messages.PhaseClearing, messages.PhaseDiscarding},
		resync.EventCleared: {messages.PhaseDiscarding},
	} {
		got := reach(messages.PhaseIdle, without(func(r resync.Row) bool { return r.On == needs }))
		for _, p := range closed {
			if got[p] {
				t.Errorf("%s is reachable without the event %s", p, needs)
			}
		}
	}
	for _, e := range []resync.Event{resync.EventFailed, resync.EventIncurable} {
		if r, _ := resync.Next(messages.PhaseClearing, e); r.To != messages.PhaseReverting {
			t.Errorf("clearing on %s goes to %q, want reverting: nothing is destroyed yet", e, r.To)
		}
		if r, ok := resync.Next(messages.PhaseDiscarding, e); !ok || r.To == messages.PhaseReverting {
			t.Errorf("discarding on %s goes to %q: half a copy must not be started", e, r.To)
		}
	}
}

func TestAfterTheStopThereIsOnlyForwardOrBack(t *testing.T) {
	next := map[messages.Phase]messages.Phase{
		messages.PhaseStopping: messages.PhaseSwitching, messages.PhaseSwitching: messages.PhaseStarting,
		messages.PhaseStarting: messages.PhaseProving, messages.PhaseProving: messages.PhaseIdle,
	}
	for p, forward := range next {
		for _, e := range []resync.Event{resync.EventFailed, resync.EventIncurable} {
			if r, ok := resync.Next(p, e); !ok || r.To != messages.PhaseReverting || r.Do != resync.ActionRevert {
				t.Errorf("%s on %s goes to %q, want reverting", p, e, r.To)
			}
		}
		for _, r := range resync.Rows() {
			if r.On == resync.EventHandedOver {
				continue // forward, by another hand
			}
			if r.From == p && r.To != forward && r.To != messages.PhaseReverting {
				t.Errorf("%s on %s goes to %s", p, r.On, r.To)
			}
		}
	}
}

func TestBeforeTheSwitchAResyncCanBeDropped(t *testing.T) {
	for _, p := range phases {
		rests := p == messages.PhaseWaiting || p == messages.PhaseNeedsOperator
		for e, want := range map[resync.Event]bool{resync.EventCured: rests, resync.EventCancelled: rests || resync.BeforeSwitch(p)} {
			r, ok := resync.Next(p, e)
			if ok != want {
				t.Errorf("%s on %s: allowed is %v, want %v", p, e, ok, want)
			}
			if ok && (r.To != messages.PhaseIdle || r.Do != resync.ActionForget) {
				t.Errorf("%s on %s: to %s with %s", p, e, r.To, r.Do)
			}
		}
		if !resync.BeforeSwitch(p) {
			continue
		}
		if r, ok := resync.Next(p, resync.EventFailed); !ok || r.To != messages.PhaseWaiting {
			t.Errorf("%s on failed goes to %q, want waiting", p, r.To)
		}
		if r, ok := resync.Next(p, resync.EventIncurable); !ok || r.To != messages.PhaseNeedsOperator {
			t.Errorf("%s on incurable goes to %q, want needs-operator", p, r.To)
		}
	}
}

func TestAnOperatorIsAlwaysHeardWhenNothingRuns(t *testing.T) {
	for _, p := range phases {
		_, ok := resync.Next(p, resync.EventRequested)
		if want := p == messages.PhaseIdle || p == messages.PhaseWaiting || p == messages.PhaseNeedsOperator; ok != want {
			t.Errorf("%s on requested: allowed is %v, want %v", p, ok, want)
		}
	}
}

func TestAResyncThatGoesWell(t *testing.T) {
	at := messages.PhaseIdle
	for _, e := range []resync.Event{
		resync.EventRequested, resync.EventBegun, resync.EventPlanned, resync.EventAgain, resync.EventPlanned,
		resync.EventReceived, resync.EventStaged, resync.EventStopped, resync.EventSwitched, resync.EventStarted, resync.EventProven,
	} {
		r, ok := resync.Next(at, e)
		if !ok {
			t.Fatalf("no way from %s on %s", at, e)
		}
		at = r.To
	}
	if at != messages.PhaseIdle {
		t.Errorf("ends in %s, want idle", at)
	}
}

func TestRowsIsACopy(t *testing.T) {
	resync.Rows()[0].To = "elsewhere"
	if got := resync.Rows()[0].To; got == "elsewhere" {
		t.Error("the table was changed from outside")
	}
}
