package resync

import m "github.com/pgresync/pgresync/messages"

// table is read top down: a resync that goes well, then what goes wrong, by phase.
var table = []Row{
	{m.PhaseIdle, EventRequested, m.PhaseRequested, ActionBegin, "a verdict or an operator asks for a new copy"},
	{m.PhaseRequested, EventBegun, m.PhasePlanning, ActionPlan, "the request is on disk, so that a trigger may be acknowledged"},
	{m.PhasePlanning, EventPlanned, m.PhaseReceiving, ActionReceive, "snapshot and bases are chosen; only the lineage is written to"},
	{m.PhaseReceiving, EventAgain, m.PhasePlanning, ActionPlan, "the pass took long, a further one leaves a shorter gap"},
	{m.PhaseReceiving, EventReceived, m.PhaseStaging, ActionStage, "the gap is short and the slot holds the WAL"},
	{m.PhaseStaging, EventStaged, m.PhaseStopping, ActionStopServer, "the new copy is complete and its WAL is sure: the old one may stop"},
	{m.PhaseStaging, EventStale, m.PhasePlanning, ActionPlan, "without the WAL from its start on the copy could never stream (I-8)"},
	{m.PhaseStopping, EventStopped, m.PhaseSwitching, ActionSwitch, "no postmaster runs on the dataset that is renamed (I-1)"},
	{m.PhaseSwitching, EventSwitched, m.PhaseStarting, ActionStartServer, "the new copy is in place, the old one set aside"},
	{m.PhaseSwitching, EventHandedOver, m.PhaseIdle, ActionLeave, "the new copy is in place; who asked for it starts PostgreSQL himself"},
	{m.PhaseIdle, EventProven, m.PhaseIdle, ActionFinish, "a copy that was handed over streams past the stop LSN: the old copy may go (I-3)"},
	{m.PhaseStarting, EventStarted, m.PhaseProving, ActionProve, "running is not streaming (PG-5)"},
	{m.PhaseProving, EventProven, m.PhaseIdle, ActionFinish, "it streams past the stop LSN: the old copy may go (I-3)"},

	// Before the switch a failure costs nothing: the old copy is as it was.
	{m.PhaseRequested, EventFailed, m.PhaseWaiting, ActionBackOff, "nothing was touched; try again later"},
	{m.PhasePlanning, EventFailed, m.PhaseWaiting, ActionBackOff, "nothing was touched; publisher or NATS may come back"},
	{m.PhaseReceiving, EventFailed, m.PhaseWaiting, ActionBackOff, "what was received stays and is resumed by token (I-11)"},
	{m.PhaseStaging, EventFailed, m.PhaseWaiting, ActionBackOff, "the old copy still runs; staging is made anew"},
	{m.PhaseRequested, EventIncurable, m.PhaseNeedsOperator, ActionAlarm, "a resync cannot cure it (I-12)"},
	{m.PhasePlanning, EventIncurable, m.PhaseNeedsOperator, ActionAlarm, "wrong cluster, wrong version or refused by policy (I-7, I-12)"},
	{m.PhaseReceiving, EventIncurable, m.PhaseNeedsOperator, ActionAlarm, "a further transfer would end the same way (I-12)"},
	{m.PhaseStaging, EventIncurable, m.PhaseNeedsOperator, ActionAlarm, "the copy would not start with these settings (I-12)"},
	{m.PhaseRequested, EventCancelled, m.PhaseIdle, ActionForget, "who asked for it waits no more"},
	{m.PhasePlanning, EventCancelled, m.PhaseIdle, ActionForget, "who asked for it waits no more"},
	{m.PhaseReceiving, EventCancelled, m.PhaseIdle, ActionForget, "who asked for it waits no more; the lineage keeps what arrived"},
	{m.PhaseStaging, EventCancelled, m.PhaseIdle, ActionForget, "who asked for it waits no more; the staged copy goes"},

	// From the stop on the only ways are forward to the proof and back to the old copy.
	{m.PhaseStopping, EventFailed, m.PhaseReverting, ActionRevert, "it may have stopped half way: the old copy must run again"},
	{m.PhaseSwitching, EventFailed, m.PhaseReverting, ActionRevert, "renamed in part, perhaps: the old copy goes back"},
	{m.PhaseStarting, EventFailed, m.PhaseReverting, ActionRevert, "the new copy does not start: the old one goes back (I-3)"},
	{m.PhaseProving, EventFailed, m.PhaseReverting, ActionRevert, "no proof within the deadline: the old copy goes back (I-3)"},
	{m.PhaseStopping, EventIncurable, m.PhaseReverting, ActionRevert, "first the old copy back, then the alarm; the journal remembers"},
	{m.PhaseSwitching, EventIncurable, m.PhaseReverting, ActionRevert, "first the old copy back, then the alarm; the journal remembers"},
	{m.PhaseStarting, EventIncurable, m.PhaseReverting, ActionRevert, "first the old copy back, then the alarm; the journal remembers"},
	{m.PhaseProving, EventIncurable, m.PhaseReverting, ActionRevert, "first the old copy back, then the alarm; the journal remembers"},
	{m.PhaseReverting, EventReverted, m.PhaseWaiting, ActionBackOff, "as before the resync; another attempt may go well"},
	{m.PhaseReverting, EventRevertedIncurable, m.PhaseNeedsOperator, ActionAlarm, "reverted, and the cause is none that a resync cures (I-12)"},
	{m.PhaseReverting, EventFailed, m.PhaseReverting, ActionRevert, "there is nothing better to do than to try again"},
	{m.PhaseReverting, EventGaveUp, m.PhaseNeedsOperator, ActionAlarm, "both copies are kept; a person must look"},

	// Modes for tight hosts: the old copy goes before the new one is there (I-3 is
	// waived by the operator), and from the first destroy on there is no way back.
	{m.PhaseReceiving, EventCramped, m.PhaseClearing, ActionClear, "it does not fit beside the old copy, and the mode gives that up"},
	{m.PhaseClearing, EventCleared, m.PhaseDiscarding, ActionDiscard, "no postmaster runs on what is destroyed (I-1), and its local files are kept"},
	{m.PhaseDiscarding, EventDiscarded, m.PhaseReceiving, ActionReceive, "there is room now; what was received already goes on by its token (I-11)"},
	{m.PhaseDiscarding, EventKept, m.PhaseReverting, ActionRevert, "it cannot be removed, and is whole: it must run again"},
	{m.PhaseClearing, EventFailed, m.PhaseReverting, ActionRevert, "nothing is destroyed yet: the old copy must run again"},
	{m.PhaseClearing, EventIncurable, m.PhaseReverting, ActionRevert, "nothing is destroyed yet: first the old copy back, then the alarm"},
	{m.PhaseDiscarding, EventFailed, m.PhaseWaiting, ActionBackOff, "destroyed in part, perhaps: the rest goes at the next try"},
	{m.PhaseDiscarding, EventIncurable, m.PhaseNeedsOperator, ActionAlarm, "destroyed in part, perhaps: a person must look"},

	{m.PhaseWaiting, EventDue, m.PhasePlanning, ActionPlan, "the back-off is over; facts may have changed, so plan anew"},
	{m.PhaseWaiting, EventRequested, m.PhaseRequested, ActionBegin, "an operator does not want to wait"},
	{m.PhaseWaiting, EventCured, m.PhaseIdle, ActionForget, "the standby streams by itself"},
	{m.PhaseWaiting, EventCancelled, m.PhaseIdle, ActionForget, "who asked for it waits no more"},

	{m.PhaseNeedsOperator, EventRequested, m.PhaseRequested, ActionBegin, "the operator asks to try again"},
	{m.PhaseNeedsOperator, EventCured, m.PhaseIdle, ActionForget, "the standby streams: the operator, or PostgreSQL itself, mended it"},
	{m.PhaseNeedsOperator, EventCancelled, m.PhaseIdle, ActionForget, "who asked for it waits no more"},
}
