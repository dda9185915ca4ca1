package plan

import (
	"time"

	"github.com/pgresync/pgresync/messages"
)

// ServerState is what the postmaster of the standby does.
type ServerState string

// The states; the zero value counts as ServerUnknown.
const (
	ServerRunning  ServerState = "running"
	ServerStopped  ServerState = "stopped"
	ServerStarting ServerState = "starting" // the process is there and rejects connections
	ServerUnknown  ServerState = "unknown"
)

// FailureClass says why PostgreSQL did not start, as far as the adapter can tell.
type FailureClass string

// The classes.
const (
	// FailureUnknown is a failure that nobody has classified; a resync may cure it.
	FailureUnknown FailureClass = ""
	// FailureStorage: data files are missing, damaged or unreadable.
	FailureStorage FailureClass = "storage"
	// FailureSettings: a parameter is lower than on the primary (PostgreSQL 15,
	// hot-standby 27.4.3). A copy has the same local settings again.
	FailureSettings FailureClass = "settings"
	// FailureOther: known and not of the data: port in use, syntax error in
	// postgresql.conf, missing library.
	FailureOther FailureClass = "other"
)

// Facts are what both sides know at one moment. Primary is to be asked for anew
// for each diagnosis: a standby may well be ahead of what the primary said a
// minute ago.
type Facts struct {
	// Cluster and Node are of this standby.
	Cluster messages.ClusterName
	Node    messages.NodeName

	// Primary is nil when no publisher answers; PrimaryErr then says why.
	Primary    *messages.PrimaryFacts
	PrimaryErr string

	// DataPresent is whether the live dataset and its PG_VERSION are there.
	DataPresent bool
	Server      ServerState
	// ServerErr says why Server is ServerUnknown, where anything does.
	ServerErr string
	// StandbySignal is whether the data directory would be started as a standby's.
	StandbySignal bool
	// StartFailures counts the consecutive failed starts by us, StartFailureClass is
	// of the last one.
	StartFailures     int
	StartFailureClass FailureClass
	// Local is nil when PostgreSQL does not answer. For a standby its timeline must
	// be the one of the last replayed record, not of the newest history file: a
	// diverged standby fetches that file, too.
	Local *messages.Identity
	// Receiver is nil when it cannot be read.
	Receiver *messages.Receiver
	// Control is nil when pg_control cannot be read.
	Control *messages.ControlData
	// SlotName is the live copy's slot, "" when it has none of ours.
	SlotName string
	// Streamed is the greatest timeline on which this copy was ever seen streaming, 0
	// when unknown. Without a receiver PostgreSQL only tells the timeline of the last
	// restart point, which lags behind a promotion.
	Streamed messages.Timeline

	// Apart is evidence from both logs that they are not one although they are on one
	// timeline, "" for none.
	Apart string

	// ReplayRate is what was replayed lately, in bytes per second, 0 when unknown.
	// Increment is about how much a resync would move, 0 when nobody asked.
	ReplayRate, Increment uint64

	// Misdirected is whether the copy's primary_conninfo, written by us, names another
	// server than the holder of the lease.
	Misdirected bool

	// Suspect, SuspectSince, Position and Ahead are those of the previous Diagnosis of
	// this copy.
	Suspect      messages.Reason
	SuspectSince time.Time
	Position     messages.LSN
	Ahead        messages.LSN
}

// RejoinPolicy says what becomes of a node that is out of recovery although
// another one is the primary.
type RejoinPolicy string

// The policies; the zero value is RejoinTrigger.
const (
	RejoinNever   RejoinPolicy = "never"
	RejoinTrigger RejoinPolicy = "trigger" // when an operator asks for it
	RejoinAuto    RejoinPolicy = "auto"    // when its timeline is proven to be abandoned
)

// RestartPolicy says which stopped standby is started again before anything is
// copied; the zero value is RestartNever.
type RestartPolicy string

// The policies.
const (
	RestartNever RestartPolicy = "never"
	// RestartCrashed: one that ended without a shutdown. Who shut one down had a reason.
	RestartCrashed RestartPolicy = "crashed"
	RestartAlways  RestartPolicy = "always"
)

// Policy is what an operator may set.
type Policy struct {
	// Debounce is for how long a reason must hold before it becomes a resync.
	Debounce time.Duration
	// RejoinPromoted is about a node out of recovery.
	RejoinPromoted RejoinPolicy
	// Restart is about a standby whose server has ended.
	Restart RestartPolicy
	// Forward is about one that is far behind.
	Forward ForwardPolicy
}

// Cure is something cheaper than a resync that the service can do.
type Cure string

// The cures.
const (
	CureNone Cure = ""
	// CureReserveSlot: ask the primary to make the copy's slot again. A standby whose
	// primary_slot_name does not exist cannot stream. The new slot reserves from the
	// last checkpoint's redo only, but what lies before is still in pg_wal, and
	// the first feedback of the receiver moves the slot back to where it stands.
	CureReserveSlot Cure = "reserve-slot"
	// CureStart: start the stopped standby; it can stream.
	CureStart Cure = "start"
	// CureFollow: point primary_conninfo at the holder of the lease.
	CureFollow Cure = "follow"
)

// Diagnosis is the verdict on a standby, with the evidence in words.
type Diagnosis struct {
	Verdict messages.Verdict
	Reason  messages.Reason
	// Evidence names the facts that decided, Remedy what an operator can do ("" when
	// there is nothing to do).
	Evidence, Remedy string
	// Cure is what the service should try meanwhile.
	Cure Cure
	// Suspect, SuspectSince, Position and Ahead belong into the next diagnosis' Facts.
	Suspect      messages.Reason
	SuspectSince time.Time
	Position     messages.LSN
	Ahead        messages.LSN
}
