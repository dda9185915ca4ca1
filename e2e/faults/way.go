package faults

import (
	"context"
	"maps"
	"slices"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// way leads a healthy standby to a row of the table.
type way struct {
	// env are settings of the sidecar that the row needs.
	env map[string]string
	// prepare is done before the sidecar runs with env, kick begins the resync; nil for
	// nothing and for a trigger.
	prepare, kick func(ctx context.Context, r *Rig) error
	// entering is done once when the journal has that phase for the first time, before
	// the sidecar acts on it.
	entering map[messages.Phase]func(ctx context.Context, r *Rig) error
	// operator says that the row ends where only a person goes on.
	operator bool
	// none is why there is no way, "" when there is one.
	none string
}

// The reasons why a row has no way.
const (
	notFailing = "charging the budget asks nobody who could fail"
	tooLong    = "twenty attempts to go back take a quarter of an hour; the simulation has it"
	ofTheModes = "only where two copies do not fit (PGRESYNC_MODE); the simulation strikes there, and e2e has TestModes"
	ofASeed    = "a copy that somebody else starts; the simulation has it, and contrib/patroni"
)

// breaks has everything that the sidecar does with ZFS fail until it has journaled
// the failure.
func breaks(_ context.Context, r *Rig) error { return r.gate.Break() }

func triggers(ctx context.Context, r *Rig) error { return r.trigger(ctx) }

type entering = map[messages.Phase]func(context.Context, *Rig) error

// breaking is the way through a failure in each of the phases.
func breaking(phases ...messages.Phase) way {
	w := way{entering: entering{}}
	for _, p := range phases {
		w.entering[p] = breaks
	}
	return w
}

// hopeless makes the first failure the last one.
func (w way) hopeless(ends bool) way {
	w.env, w.operator = map[string]string{"PGRESYNC_SAME_FAILURE": "1"}, ends
	return w
}

func (w way) then(at messages.Phase, do func(context.Context, *Rig) error) way {
	w.entering = maps.Clone(w.entering)
	w.entering[at] = do
	return w
}

// tight rows are those of a pool without room for two copies.
func tight(row resync.Row) bool {
	modes := []messages.Phase{messages.PhaseClearing, messages.PhaseDiscarding}
	return slices.Contains(modes, row.From) || slices.Contains(modes, row.To)
}

// wayTo knows how to get to a row.
func wayTo(row resync.Row) way {
	if tight(row) {
		return way{none: ofTheModes}
	}
	if row.From == messages.PhaseIdle && row.On == resync.EventProven {
		return way{none: ofASeed}
	}
	switch row.On {
	case resync.EventBegun, resync.EventPlanned, resync.EventReceived, resync.EventStaged, resync.EventStopped,
		resync.EventSwitched, resync.EventStarted, resync.EventProven:
		return way{}
	case resync.EventRequested:
		return wayToRequest(row.From)
	case resync.EventAgain:
		// A pass that took more than four times that long is followed by another one.
		return way{env: map[string]string{"PGRESYNC_CONVERGE_PASSES": "3", "PGRESYNC_CONVERGE_SHORT": "100ms"}}
	case resync.EventStale:
		return way{entering: entering{messages.PhaseStaging: func(ctx context.Context, r *Rig) error { return r.dropSlot(ctx) }}}
	case resync.EventFailed:
		return wayToFailure(row.From)
	case resync.EventIncurable:
		return wayToDespair(row.From)
	case resync.EventReverted:
		return breaking(messages.PhaseStarting)
	case resync.EventRevertedIncurable:
		return breaking(messages.PhaseStarting).hopeless(false)
	case resync.EventDue:
		return breaking(messages.PhasePlanning)
	case resync.EventCured:
		return wayToCure(row.From)
	case resync.EventGaveUp:
		return way{none: tooLong}
	case resync.EventHandedOver, resync.EventCancelled:
		return way{none: ofASeed}
	case resync.EventCramped, resync.EventCleared, resync.EventDiscarded, resync.EventKept:
	}
	return way{none: ofTheModes}
}

func wayToRequest(from messages.Phase) way {
	if from == messages.PhaseIdle {
		return way{}
	}
	w := breaking(messages.PhasePlanning)
	if from == messages.PhaseNeedsOperator {
		return w.hopeless(false).then(from, triggers)
	}
	w.env = map[string]string{"PGRESYNC_BACKOFF_MIN": "5m", "PGRESYNC_BACKOFF_MAX": "5m"}
	return w.then(from, triggers)
}

func wayToFailure(from messages.Phase) way {
	if from == messages.PhaseRequested {
		return way{none: notFailing}
	}
	if from == messages.PhaseReverting {
		return breaking(messages.PhaseStarting, from)
	}
	return breaking(from)
}

func wayToDespair(from messages.Phase) way {
	if from == messages.PhaseRequested {
		return way{
			env:     map[string]string{"PGRESYNC_RESYNC_BUDGET": "1"},
			prepare: func(ctx context.Context, r *Rig) error { return r.spend(ctx, 1) },
			kick:    func(ctx context.Context, r *Rig) error { return r.loseSlot(ctx) }, operator: true,
		}
	}
	// Who went back to the old copy streams again, and needs nobody any more.
	early := slices.Contains([]messages.Phase{messages.PhasePlanning, messages.PhaseReceiving, messages.PhaseStaging}, from)
	return breaking(from).hopeless(early)
}

func wayToCure(from messages.Phase) way {
	w := breaking(messages.PhaseStarting)
	if from == messages.PhaseNeedsOperator {
		return w.hopeless(false)
	}
	return w
}
