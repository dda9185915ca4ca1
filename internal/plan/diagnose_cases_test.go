package plan_test

import (
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

const (
	seg  = 16 << 20
	slot = "pgresync_db2_0123456789abcd"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// at is a position in segment n, a little after its start.
func at(n uint64) messages.LSN { return messages.LSN(n*seg + 0x28) }

// Timeline 3 came from 2 at segment 80, and that from 1 at segment 50.
func line() messages.TimelineHistory {
	return messages.TimelineHistory{Current: 3, Ancestors: []messages.TimelineSwitch{{Timeline: 1, EndLSN: at(50)}, {Timeline: 2, EndLSN: at(80)}}}
}

// broken is a standby in reach of everything that does not stream: the primary is
// at segment 100 and has WAL from 60 on; the standby is at 90.
func broken() plan.Facts {
	return plan.Facts{
		Cluster: "main", Node: "db2", DataPresent: true, Server: plan.ServerRunning, SlotName: slot,
		Primary: &messages.PrimaryFacts{
			Cluster: "main", Node: "db1", Lease: 7, OldestWAL: 60 * seg, WALSegmentSize: seg,
			Identity: messages.Identity{SystemID: 42, Version: 150018, Role: messages.RolePrimary, Timeline: line(), LSN: at(100)},
			Slots:    []messages.SlotState{{Name: slot, RestartLSN: at(90), WALStatus: messages.WALReserved}},
		},
		Local: &messages.Identity{
			SystemID: 42, Version: 150018, Role: messages.RoleStandby,
			Timeline: messages.TimelineHistory{Current: 3}, LSN: at(90),
		},
		Receiver: &messages.Receiver{InRecovery: true, Timeline: 3, ReceiveLSN: at(90), ReplayLSN: at(90)},
		Control:  &messages.ControlData{SystemID: 42, State: "in archive recovery", Timeline: 3, CheckpointLSN: at(88), MinRecoveryLSN: at(89), MinRecoveryTimeline: 3},
	}
}

func stands(f *plan.Facts, t messages.Timeline, lsn messages.LSN) {
	f.Local.Timeline.Current, f.Local.LSN = t, lsn
	f.Receiver.Timeline, f.Receiver.ReceiveLSN, f.Receiver.ReplayLSN = t, lsn, lsn
	f.Control.Timeline, f.Control.CheckpointLSN, f.Control.MinRecoveryLSN, f.Control.MinRecoveryTimeline = t, lsn-seg, lsn, t
}

func stops(f *plan.Facts) { f.Server, f.Local, f.Receiver = plan.ServerStopped, nil, nil }

func promotes(f *plan.Facts, t messages.Timeline, lsn messages.LSN) {
	stands(f, t, lsn)
	f.Local.Role, f.Receiver.InRecovery = messages.RolePrimary, false
	f.Control.State = "in production"
}

func loseSlot(f *plan.Facts) {
	f.Primary.Slots[0].WALStatus, f.Primary.Slots[0].RestartLSN = messages.WALLost, 0
}

type opinion struct {
	v messages.Verdict
	r messages.Reason
}

var (
	isHealthy   = opinion{messages.VerdictHealthy, messages.ReasonStreaming}
	notStream   = opinion{messages.VerdictWait, messages.ReasonNotStreaming}
	isDiverged  = opinion{messages.VerdictResync, messages.ReasonDiverged}
	isNewer     = opinion{messages.VerdictNeedsOperator, messages.ReasonDiverged}
	isPromoted  = opinion{messages.VerdictNeedsOperator, messages.ReasonPromoted}
	isDown      = opinion{messages.VerdictWait, messages.ReasonServerDown}
	walGone     = opinion{messages.VerdictResync, messages.ReasonWALGone}
	slotLost    = opinion{messages.VerdictResync, messages.ReasonSlotLost}
	catchingUp  = opinion{messages.VerdictWait, messages.ReasonCatchingUp}
	unknown     = opinion{messages.VerdictWait, messages.ReasonPrimaryUnknown}
	publishes   = opinion{messages.VerdictWait, messages.ReasonPromoted}
	rejoinsAuto = opinion{messages.VerdictResync, messages.ReasonPromoted}
)

// saying are cases whose verdict needs no debounce, or has had it.
var saying = []struct {
	name   string
	change func(*plan.Facts)
	policy plan.RejoinPolicy
	want   opinion
	// says must occur in the evidence or the remedy, cure is what is asked for.
	says string
	cure plan.Cure
}{
	{"streaming", func(f *plan.Facts) { f.Receiver.Streaming = true }, "", isHealthy, "streams", ""},
	{"streaming, and ahead of what the primary said a moment ago", func(f *plan.Facts) {
		stands(f, 3, at(101))
		f.Receiver.Streaming = true
	}, "", isHealthy, "", ""},
	{"streaming, though no publisher answers", func(f *plan.Facts) { f.Receiver.Streaming, f.Primary = true, nil }, "", isHealthy, "", ""},
	{"streaming by the primary's word, without the right to look", func(f *plan.Facts) { f.Receiver, f.Primary.Streaming = nil, true }, "", isHealthy, "db1", ""},
	{"streaming by the primary's word, hot standby off", func(f *plan.Facts) {
		f.Local, f.Receiver, f.Primary.Streaming = nil, nil, true
	}, "", isHealthy, "", ""},
	{"stopped, and the primary has not noticed", func(f *plan.Facts) {
		stops(f)
		f.Primary.Streaming = true
	}, "", isDown, "stopped", ""},
	{"streaming from a deposed primary beyond the fork", func(f *plan.Facts) {
		stands(f, 2, at(81))
		f.Receiver.Streaming = true
	}, "", isDiverged, "timeline 2", ""},
	{"streaming from a newer primary that has no lease yet", func(f *plan.Facts) {
		stands(f, 4, at(120))
		f.Receiver.Streaming = true
	}, "", isHealthy, "", ""},

	{"no data", func(f *plan.Facts) {
		stops(f)
		f.DataPresent = false
	}, "", opinion{messages.VerdictResync, messages.ReasonNoData}, "missing", ""},
	{"no data and no publisher", func(f *plan.Facts) {
		stops(f)
		f.DataPresent, f.Primary, f.PrimaryErr = false, nil, "no responders"
	}, "", unknown, "no responders", ""},
	{"no data, yet PostgreSQL answers", func(f *plan.Facts) { f.DataPresent = false }, "", opinion{messages.VerdictWait, messages.ReasonNoData}, "correct", ""},

	{"the primary is down, or its whole node", func(f *plan.Facts) { f.Primary, f.PrimaryErr = nil, "timeout" }, "", unknown, "timeout", ""},
	{"no publisher, and promoted a moment ago", func(f *plan.Facts) {
		promotes(f, 4, at(101))
		f.Primary = nil
	}, "", unknown, "", ""},
	{"the publisher is no primary", func(f *plan.Facts) { f.Primary.Identity.Role = messages.RoleStandby }, "", unknown, "standby", ""},

	{"the primary is down, and this standby is stopped, too", func(f *plan.Facts) {
		stops(f)
		f.Primary = nil
	}, "", unknown, "", ""},
	{"NATS is down, or the network between the nodes is cut: the standby goes on streaming", func(f *plan.Facts) {
		f.Receiver.Streaming, f.Primary, f.PrimaryErr = true, nil, "no servers available"
	}, "", isHealthy, "", ""},

	{"a different system identifier", func(f *plan.Facts) { f.Local.SystemID = 43 }, "", opinion{messages.VerdictNeedsOperator, messages.ReasonWrongCluster}, "43", ""},
	{"a different system identifier, stopped", func(f *plan.Facts) {
		stops(f)
		f.Control.SystemID = 43
	}, "", opinion{messages.VerdictNeedsOperator, messages.ReasonWrongCluster}, "43", ""},
	{"a different major version", func(f *plan.Facts) { f.Local.Version = 160004 }, "", opinion{messages.VerdictNeedsOperator, messages.ReasonWrongVersion}, "16.4", ""},
	{"a different minor version", func(f *plan.Facts) { f.Local.Version = 150017 }, "", notStream, "", ""},

	{"this node publishes", func(f *plan.Facts) {
		promotes(f, 3, at(100))
		f.Primary.Node = "db2"
	}, "", publishes, "", ""},
	{"promoted beside the primary", func(f *plan.Facts) { promotes(f, 2, at(90)) }, "", isPromoted, "nats pub pgresync.main.trigger.resync.db2", ""},
	{"promoted, by the receiver's word alone", func(f *plan.Facts) { f.Receiver.InRecovery = false }, "", isPromoted, "", ""},
	{"promoted, no rejoin allowed", func(f *plan.Facts) { promotes(f, 2, at(90)) }, plan.RejoinNever, isPromoted, "forbids", ""},
	{"promoted on a branch that the cluster has left", func(f *plan.Facts) { promotes(f, 2, at(90)) }, plan.RejoinAuto, rejoinsAuto, "timeline 2", ""},
	{"promoted, before the fork of the primary's timeline", func(f *plan.Facts) { promotes(f, 2, at(80)) }, plan.RejoinAuto, isPromoted, "", ""},
	{"promoted, on the primary's timeline", func(f *plan.Facts) { promotes(f, 3, at(110)) }, plan.RejoinAuto, isPromoted, "", ""},
	{"promoted, on a newer timeline than the primary's", func(f *plan.Facts) { promotes(f, 4, at(110)) }, plan.RejoinAuto, isPromoted, "", ""},
	{"promoted, and the primary has no lease", func(f *plan.Facts) {
		promotes(f, 2, at(90))
		f.Primary.Lease = 0
	}, plan.RejoinAuto, isPromoted, "", ""},
	{"a primary that crashed and was replaced", func(f *plan.Facts) {
		promotes(f, 2, at(90))
		stops(f)
	}, "", isPromoted, "was a primary when it stopped", ""},
	{"a primary that crashed and was replaced, rejoins by itself", func(f *plan.Facts) {
		promotes(f, 2, at(80))
		stops(f)
	}, plan.RejoinAuto, rejoinsAuto, "", ""},
	{"a primary that crashed, nobody replaced it", func(f *plan.Facts) {
		promotes(f, 3, at(90))
		stops(f)
	}, plan.RejoinAuto, isDown, "", ""},
	{"a stopped primary that does not start, and was not replaced by a newer timeline", func(f *plan.Facts) {
		promotes(f, 3, at(110))
		stops(f)
		f.StartFailures, f.StartFailureClass = 2, plan.FailureStorage
	}, plan.RejoinAuto, isPromoted, "", ""},
	{"promoted, by the receiver's word alone, no other answer", func(f *plan.Facts) {
		f.Receiver.InRecovery, f.Local, f.Control = false, nil, nil
		loseSlot(f)
	}, plan.RejoinAuto, isPromoted, "", ""},
	{"stopped, its control file cannot be read", func(f *plan.Facts) {
		stops(f)
		f.Control = nil
	}, "", isDown, "", ""},

	{"one failed start", func(f *plan.Facts) {
		stops(f)
		f.StartFailures, f.StartFailureClass = 1, plan.FailureStorage
	}, "", isDown, "start PostgreSQL", ""},
	{"two failed starts", func(f *plan.Facts) {
		stops(f)
		f.StartFailures, f.StartFailureClass = 2, plan.FailureStorage
	}, "", opinion{messages.VerdictResync, messages.ReasonServerDown}, "2 times", ""},
	{"two failed starts that nobody can class", func(f *plan.Facts) {
		stops(f)
		f.StartFailures = 2
	}, "", opinion{messages.VerdictResync, messages.ReasonServerDown}, "", ""},
	{"failed starts, but it runs by now", func(f *plan.Facts) { f.StartFailures = 5 }, "", notStream, "", ""},
	{"insufficient parameters: max_connections is lower than on the primary", func(f *plan.Facts) {
		stops(f)
		f.StartFailures, f.StartFailureClass, f.Primary = 1, plan.FailureSettings, nil
	}, "", opinion{messages.VerdictNeedsOperator, messages.ReasonSettingsTooLow}, "max_connections", ""},
	{"one failed start for another reason", func(f *plan.Facts) {
		stops(f)
		f.StartFailures, f.StartFailureClass = 1, plan.FailureOther
	}, "", isDown, "", ""},
	{"two failed starts for another reason", func(f *plan.Facts) {
		stops(f)
		f.StartFailures, f.StartFailureClass = 2, plan.FailureOther
	}, "", opinion{messages.VerdictNeedsOperator, messages.ReasonServerDown}, "configuration", ""},
	{"stopped, WAL gone as far as one can see", func(f *plan.Facts) {
		stops(f)
		f.Primary.OldestWAL, f.Primary.Slots = 95*seg, nil
		f.SlotName = ""
	}, "", isDown, "", ""},
	{"stopped, slot dropped: it may have the WAL itself", func(f *plan.Facts) {
		stops(f)
		f.Primary.OldestWAL, f.Primary.Slots = 95*seg, nil
	}, "", opinion{messages.VerdictWait, messages.ReasonServerDown}, "slot missing", plan.CureReserveSlot},
	{"stopped, slot lost and WAL gone", func(f *plan.Facts) {
		stops(f)
		f.Primary.OldestWAL = 95 * seg
		loseSlot(f)
	}, "", slotLost, slot, ""},
	{"stopped, diverged", func(f *plan.Facts) {
		stands(f, 2, at(90))
		stops(f)
	}, "", isDiverged, "", ""},
	{"stopped, its minimum recovery point is past a fork that its checkpoint is not", func(f *plan.Facts) {
		stops(f)
		f.Control.Timeline, f.Control.CheckpointLSN, f.Control.MinRecoveryLSN, f.Control.MinRecoveryTimeline = 2, at(79), at(90), 2
	}, "", isDiverged, "timeline 2", ""},
	{"stopped, its recovery went through a fork after its checkpoint, and followed", func(f *plan.Facts) {
		stops(f)
		f.Control.Timeline, f.Control.CheckpointLSN, f.Control.MinRecoveryLSN, f.Control.MinRecoveryTimeline = 2, at(79), at(90), 3
	}, "", isDown, "", ""},
	{"starting", func(f *plan.Facts) {
		stops(f)
		f.Server = plan.ServerStarting
	}, "", isDown, "starting", ""},
	{"no word of the server", func(f *plan.Facts) {
		stops(f)
		f.Server = ""
	}, "", isDown, "unknown", ""},
	{"the controller refuses to tell", func(f *plan.Facts) {
		stops(f)
		f.Server, f.ServerErr = plan.ServerUnknown, "unit all.service names no server of its own"
	}, "", isDown, "names no server of its own", ""},

	{"a paused standby", func(f *plan.Facts) { f.Receiver.Paused = true }, "", catchingUp, "paused", ""},
	{"a paused standby, its WAL gone", func(f *plan.Facts) { f.Receiver.Paused, f.Primary.OldestWAL = true, 99*seg }, "", catchingUp, "", ""},
	{"replay goes on without a receiver", func(f *plan.Facts) { f.Position, f.Primary.OldestWAL = at(89), 99*seg }, "", catchingUp, "", ""},
	{"replay stands where it stood", func(f *plan.Facts) { f.Position = at(90) }, "", notStream, "", ""},

	{"past the fork of an ancestor", func(f *plan.Facts) { stands(f, 2, at(81)) }, "", isDiverged, "0/50000028", ""},
	{"at the fork of an ancestor", func(f *plan.Facts) { stands(f, 2, at(80)) }, "", notStream, "", ""},
	{"before the fork of an ancestor", func(f *plan.Facts) { stands(f, 2, at(79)) }, "", notStream, "", ""},
	{"received past the fork, but not replayed", func(f *plan.Facts) {
		stands(f, 2, at(80))
		f.Receiver.ReceiveLSN = at(80) + 8192
	}, "", notStream, "", ""},
	{"on a newer timeline than the publisher's", func(f *plan.Facts) { stands(f, 9, at(70)) }, "", isNewer, "timeline 9, newer than timeline 3 of db1", ""},
	{"on a newer timeline than the publisher's, what to do", func(f *plan.Facts) { stands(f, 9, at(70)) }, "", isNewer, "nats pub pgresync.main.trigger.resync.db2", ""},
	{"on a newer timeline, its WAL gone on the publisher", func(f *plan.Facts) {
		stands(f, 4, at(90))
		f.Primary.OldestWAL, f.Primary.Slots = 99*seg, nil
	}, "", isNewer, "", ""},
	{"on a newer timeline, paused", func(f *plan.Facts) { stands(f, 4, at(90)); f.Receiver.Paused = true }, "", catchingUp, "paused", ""},
	{"on a newer timeline, stopped", func(f *plan.Facts) {
		stands(f, 4, at(90))
		stops(f)
		f.Primary.OldestWAL, f.Primary.Slots = 99*seg, nil
	}, "", isDown, "stopped", ""},
	{"on a newer timeline, and it does not start", func(f *plan.Facts) {
		stands(f, 4, at(90))
		stops(f)
		f.StartFailures, f.StartFailureClass = 2, plan.FailureStorage
	}, "", isNewer, "timeline 4", ""},
	{"on an older timeline that the primary never had", func(f *plan.Facts) {
		f.Primary.Identity.Timeline.Ancestors = f.Primary.Identity.Timeline.Ancestors[:1]
		stands(f, 2, at(70))
	}, "", isDiverged, "not in the history", ""},
	{"ahead of the primary on its own timeline", func(f *plan.Facts) { stands(f, 3, at(101)) }, "", isDiverged, "same timeline", ""},
	{"the restart point lags behind a promotion that was streamed", func(f *plan.Facts) {
		stands(f, 2, at(81))
		f.Streamed = 3
	}, "", notStream, "", ""},
	{"no timeline known", func(f *plan.Facts) {
		stands(f, 0, at(101))
	}, "", notStream, "", ""},

	{"its WAL gone, no slot of ours", func(f *plan.Facts) { f.SlotName, f.Primary.Slots, f.Primary.OldestWAL = "", nil, 91*seg }, "", walGone, "5A000000", ""},
	{"its segment is the oldest there is", func(f *plan.Facts) { f.SlotName, f.Primary.Slots, f.Primary.OldestWAL = "", nil, 90*seg }, "", notStream, "", ""},
	{"a record torn at a segment's end is asked for from its beginning", func(f *plan.Facts) {
		f.Receiver.ReceiveLSN, f.Primary.OldestWAL = at(91), 91*seg
		f.Primary.Slots[0].RestartLSN = at(91)
	}, "", walGone, "5A000000", ""},
	{"its WAL gone, its slot lost", func(f *plan.Facts) {
		f.Primary.OldestWAL = 91 * seg
		loseSlot(f)
	}, "", slotLost, "lost", ""},
	{"its WAL gone, its slot missing", func(f *plan.Facts) { f.Primary.Slots, f.Primary.OldestWAL = nil, 91*seg }, "", slotLost, "missing", ""},
	{"its WAL gone, its slot made again too late", func(f *plan.Facts) { f.Primary.Slots[0].RestartLSN, f.Primary.OldestWAL = at(99), 91*seg }, "", walGone, "", ""},
	{"another slot of ours keeps the WAL", func(f *plan.Facts) {
		f.Primary.OldestWAL = 91 * seg // measured before the slot
		loseSlot(f)
		f.Primary.Slots = append(f.Primary.Slots, messages.SlotState{Name: "pgresync_db2_other", RestartLSN: at(85), WALStatus: messages.WALExtended})
	}, "", notStream, "slot lost", plan.CureReserveSlot},
	{"a paused standby that streams", func(f *plan.Facts) { f.Receiver.Paused, f.Receiver.Streaming = true, true }, "", isHealthy, "", ""},
	{"a delayed standby that streams", func(f *plan.Facts) {
		f.Receiver.Streaming, f.Receiver.ReplayLSN, f.Local.LSN = true, at(70), at(70)
	}, "", isHealthy, "", ""},
	{"a delayed standby has WAL of its own to replay", func(f *plan.Facts) {
		f.Receiver.ReplayLSN, f.Local.LSN, f.Primary.OldestWAL = at(70), at(70), 80*seg
	}, "", notStream, "", ""},
	{"a delayed standby, the WAL after what it received gone", func(f *plan.Facts) {
		f.Receiver.ReplayLSN, f.Local.LSN, f.Primary.OldestWAL = at(70), at(70), 95*seg
		f.Primary.Slots[0].RestartLSN = at(99)
	}, "", walGone, "5A000000", ""},
	{"slot missing, WAL there", func(f *plan.Facts) { f.Primary.Slots = nil }, "", notStream, "slot missing", plan.CureReserveSlot},
	{"slot lost, WAL there", loseSlot, "", notStream, "slot lost", plan.CureReserveSlot},
	{"a cut network: the primary still has the WAL", func(*plan.Facts) {}, "", notStream, "pg_hba.conf", ""},
	{"a cut network for so long that the slot keeps more than it should", func(f *plan.Facts) {
		f.Primary.Slots[0].WALStatus = messages.WALUnreserved
	}, "", notStream, "", ""},
	// PostgreSQL tells nobody but its log: there is no receiver, and nothing else is wrong.
	{"a wrong password in primary_conninfo", func(f *plan.Facts) { f.Receiver.SenderHost = "" }, "", notStream, "credentials", ""},
	{"a wrong password, and the slot nobody uses is dropped", func(f *plan.Facts) { f.Primary.Slots = nil }, "", notStream, "", plan.CureReserveSlot},
	{"a query on the standby holds up replay", func(f *plan.Facts) {
		f.Receiver.Streaming, f.Receiver.ReceiveLSN = true, at(99)
	}, "", isHealthy, "", ""},

	{"another log on the same timeline, behind the primary's position", func(f *plan.Facts) { f.Apart = "no record begins there" }, "", isDiverged, "no record begins there", ""},
	{"another log on the same timeline, and yet it streams", func(f *plan.Facts) {
		f.Apart, f.Receiver.Streaming = "other bytes", true
	}, "", isDiverged, "same timeline", ""},
	{"another log on the same timeline, paused", func(f *plan.Facts) { f.Apart, f.Receiver.Paused = "other bytes", true }, "", isDiverged, "", ""},
	{"another log on the same timeline, stopped", func(f *plan.Facts) {
		stops(f)
		f.Apart, f.StandbySignal = "another checkpoint", true
	}, "", isDiverged, "another checkpoint", ""},
	{"another log on the same timeline, but the primary is away", func(f *plan.Facts) { f.Apart, f.Primary = "other bytes", nil }, "", unknown, "", ""},
	{"another log, of another cluster", func(f *plan.Facts) { f.Apart, f.Local.SystemID = "other bytes", 43 }, "", opinion{messages.VerdictNeedsOperator, messages.ReasonWrongCluster}, "43", ""},
	{"another log, of a server that was promoted", func(f *plan.Facts) {
		promotes(f, 3, at(90))
		f.Apart = "other bytes"
	}, plan.RejoinAuto, isPromoted, "", ""},
	{"it was ahead of a primary that lost what it had sent", func(f *plan.Facts) {
		f.Position, f.Primary.Identity.LSN = at(90), at(89)
	}, "", isDiverged, "0/5A000028", ""},
	{"no word of the oldest WAL", func(f *plan.Facts) { f.Primary.OldestWAL = 0 }, "", notStream, "", ""},
	{"no segment size", func(f *plan.Facts) { f.Primary.WALSegmentSize, f.Primary.OldestWAL = 0, 90*seg }, "", notStream, "", ""},
}
