package resync

import (
	"slices"

	"github.com/pgresync/pgresync/messages"
)

// Event is what happened; stable text.
type Event string

// The events.
const (
	EventRequested Event = "requested" // a verdict or a trigger asks for a resync
	EventBegun     Event = "begun"     // the journal has an id, the budget allows it
	EventPlanned   Event = "planned"   // snapshot and slot are chosen
	EventAgain     Event = "again"     // the pass is done, another one is wanted
	EventReceived  Event = "received"  // the last pass is done
	EventCramped   Event = "cramped"   // what comes does not fit beside the old copy, which may go for it
	EventCleared   Event = "cleared"   // PostgreSQL is down, the old copy set aside
	EventDiscarded Event = "discarded" // the old copy is gone
	EventKept      Event = "kept"      // it cannot be removed, and is whole
	EventStaged    Event = "staged"    // the coming copy is prepared, checked, and its WAL proven (I-7, I-8)
	EventStale     Event = "stale"     // the WAL from the snapshot on is not sure any more
	EventStopped   Event = "stopped"   // PostgreSQL is proven to be down
	EventSwitched  Event = "switched"  // the coming copy is where the old one was
	// EventHandedOver is EventSwitched where the start is somebody else's.
	EventHandedOver Event = "handed-over"
	EventStarted    Event = "started"   // PostgreSQL runs on it, in recovery
	EventProven     Event = "proven"    // it streams, past the stop LSN
	EventFailed     Event = "failed"    // and trying again may help
	EventIncurable  Event = "incurable" // and a resync cannot cure it (I-12)
	EventReverted   Event = "reverted"  // the old copy is back and runs as before
	// EventRevertedIncurable is raised in place of EventReverted when the journal says Incurable.
	EventRevertedIncurable Event = "reverted-incurable"
	EventGaveUp            Event = "gave-up"   // the way back was tried often enough
	EventDue               Event = "due"       // the back-off is over
	EventCured             Event = "cured"     // the standby streams by itself
	EventCancelled         Event = "cancelled" // who asked for a seed waits no more
)

// Action is what a phase has to do. Each is safe to repeat.
type Action string

// The actions.
const (
	ActionNone        Action = ""
	ActionBegin       Action = "begin"        // draw an id, charge the budget, write the journal
	ActionPlan        Action = "plan"         // ask the publisher, choose snapshot and base
	ActionReceive     Action = "receive"      // one pass into the lineage
	ActionClear       Action = "clear"        // stop PostgreSQL, set the old copy aside, keep its local files
	ActionDiscard     Action = "discard"      // destroy the old copy
	ActionStage       Action = "stage"        // clone, mount aside, prepare, check, prove the WAL
	ActionStopServer  Action = "stop-server"  // stop PostgreSQL, prove that it is down
	ActionSwitch      Action = "switch"       // rename live to old and next to live, mount
	ActionStartServer Action = "start-server" // start, check that it is in recovery
	// ActionLeave leaves everything as it is, old copy and slot included, until whoever
	// starts the new copy has done so and it streams.
	ActionLeave   Action = "leave"
	ActionProve   Action = "prove"    // wait for the proof of rejoin
	ActionRevert  Action = "revert"   // bring the old copy back, start it if it ran
	ActionBackOff Action = "back-off" // wait until the journal's due time
	ActionAlarm   Action = "alarm"    // tell the operator reason and remedy; wait
	// ActionFinish removes what a resync left behind: the old copy and its slot only
	// where the journal says Proven, and whatever ActionForget does.
	ActionFinish Action = "finish"
	// ActionForget removes what was staged and the slot reserved for it, never an old
	// copy.
	ActionForget Action = "forget"
)

// Row is one transition.
type Row struct {
	From messages.Phase
	On   Event
	To   messages.Phase
	// Do is done once the journal says To.
	Do  Action
	Why string
}

// Rows is a copy of the whole table.
func Rows() []Row { return slices.Clone(table) }

// Next finds the transition; false when the event means nothing in this phase and
// is to be ignored (a second trigger during a resync, a cure of what is idle).
func Next(from messages.Phase, on Event) (Row, bool) {
	for _, r := range table {
		if r.From == from && r.On == on {
			return r, true
		}
	}
	return Row{}, false
}

// Allows reports whether the event means something in the phase.
func Allows(from messages.Phase, on Event) bool {
	_, ok := Next(from, on)
	return ok
}

// ActionOf is what is to be done in a phase after a restart; ActionNone for an
// unknown phase. In idle it is ActionFinish: a crash may have come between the journal and
// the clean-up.
func ActionOf(p messages.Phase) Action {
	switch p {
	case messages.PhaseIdle:
		return ActionFinish
	case messages.PhaseRequested:
		return ActionBegin
	case messages.PhasePlanning:
		return ActionPlan
	case messages.PhaseReceiving:
		return ActionReceive
	case messages.PhaseClearing:
		return ActionClear
	case messages.PhaseDiscarding:
		return ActionDiscard
	case messages.PhaseStaging:
		return ActionStage
	case messages.PhaseStopping:
		return ActionStopServer
	case messages.PhaseSwitching:
		return ActionSwitch
	case messages.PhaseStarting:
		return ActionStartServer
	case messages.PhaseProving:
		return ActionProve
	case messages.PhaseReverting:
		return ActionRevert
	case messages.PhaseWaiting:
		return ActionBackOff
	case messages.PhaseNeedsOperator:
		return ActionAlarm
	}
	return ActionNone
}

// BeforeSwitch reports whether the old copy is untouched and PostgreSQL is left
// alone in p, so that a resync can be dropped at no cost.
func BeforeSwitch(p messages.Phase) bool {
	switch p {
	case messages.PhaseRequested, messages.PhasePlanning, messages.PhaseReceiving, messages.PhaseStaging:
		return true
	case messages.PhaseIdle, messages.PhaseStopping, messages.PhaseSwitching, messages.PhaseStarting, messages.PhaseProving,
		messages.PhaseReverting, messages.PhaseWaiting, messages.PhaseNeedsOperator, messages.PhaseClearing, messages.PhaseDiscarding:
	}
	return false
}
