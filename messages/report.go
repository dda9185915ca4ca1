package messages

import (
	"fmt"
	"time"
)

// Phase is a state of the resync machine; the same word in journal, report,
// metric and log.
type Phase string

// The phases, in the order of a resync that goes well.
const (
	PhaseIdle          Phase = "idle"
	PhaseRequested     Phase = "requested"
	PhasePlanning      Phase = "planning"
	PhaseReceiving     Phase = "receiving"
	PhaseClearing      Phase = "clearing"   // only in the modes that give up the old copy
	PhaseDiscarding    Phase = "discarding" // early (docs/adr/0019)
	PhaseStaging       Phase = "staging"
	PhaseStopping      Phase = "stopping"
	PhaseSwitching     Phase = "switching"
	PhaseStarting      Phase = "starting"
	PhaseProving       Phase = "proving"
	PhaseReverting     Phase = "reverting"
	PhaseWaiting       Phase = "waiting"
	PhaseNeedsOperator Phase = "needs-operator"
)

// Phases are all of them, in that order.
func Phases() []Phase {
	return []Phase{
		PhaseIdle, PhaseRequested, PhasePlanning, PhaseReceiving, PhaseClearing, PhaseDiscarding, PhaseStaging, PhaseStopping,
		PhaseSwitching, PhaseStarting, PhaseProving, PhaseReverting, PhaseWaiting, PhaseNeedsOperator,
	}
}

// Works reports whether a resync is at work in this phase; in the others it rests.
func (p Phase) Works() bool {
	return p != "" && p != PhaseIdle && p != PhaseWaiting && p != PhaseNeedsOperator
}

// Verdict is whether a standby needs a resync.
type Verdict string

// The verdicts.
const (
	VerdictHealthy       Verdict = "healthy"
	VerdictWait          Verdict = "wait"
	VerdictResync        Verdict = "resync"
	VerdictNeedsOperator Verdict = "needs-operator"
)

// Reason is why a verdict was given; stable text.
type Reason string

// The reasons.
const (
	ReasonStreaming      Reason = "streaming"
	ReasonCatchingUp     Reason = "catching-up"
	ReasonPrimaryUnknown Reason = "primary-unknown"  // no facts from a publisher
	ReasonNotYetSure     Reason = "not-yet-sure"     // debounce
	ReasonNoData         Reason = "no-data"          // nothing here yet, or the data directory is gone
	ReasonWALGone        Reason = "wal-gone"         // the primary no longer has the WAL this standby needs
	ReasonSlotLost       Reason = "slot-lost"        // the slot was invalidated or dropped, and its WAL is gone
	ReasonDiverged       Reason = "diverged"         // this standby is past the fork of the primary's timeline
	ReasonPromoted       Reason = "promoted"         // this node is out of recovery
	ReasonWrongCluster   Reason = "wrong-cluster"    // other system identifier
	ReasonWrongVersion   Reason = "wrong-version"    // other major version
	ReasonServerDown     Reason = "server-down"      // PostgreSQL is stopped or does not start
	ReasonRequested      Reason = "requested"        // an operator's trigger
	ReasonNotStreaming   Reason = "not-streaming"    // no receiver, yet the WAL is there: not cured by a resync
	ReasonLagging        Reason = "lagging"          // replaying the lag takes longer than an increment
	ReasonSettingsTooLow Reason = "settings-too-low" // a parameter is lower than the primary's
)

// PassKind is how a pass moved the data.
type PassKind string

// The kinds.
const (
	PassSeed      PassKind = "seed"
	PassIncrement PassKind = "increment"
	PassNone      PassKind = "none" // the lineage had the snapshot already
)

// PassReport is one pass of a resync.
type PassReport struct {
	Snapshot SnapshotID `json:"snapshot"`
	Kind     PassKind   `json:"kind"`
	Base     SnapshotID `json:"base,omitempty"`
	// Bytes is what zfs recv was fed; Millis the time it took.
	Bytes  uint64 `json:"bytes,string"`
	Millis int64  `json:"ms"`
}

// ResyncReport is what is known of one resync, at its end or on its way.
type ResyncReport struct {
	ID        ResyncID     `json:"id"`
	Phase     Phase        `json:"phase"`
	Reason    Reason       `json:"reason"`
	Evidence  string       `json:"evidence,omitempty"`
	StartedAt time.Time    `json:"started_at"`
	Passes    []PassReport `json:"passes,omitempty"`
	// DownMillis is from the stop of the old copy to the first answer of the new.
	DownMillis int64 `json:"down_ms,omitempty"`
	// TotalMillis is from the request to now.
	TotalMillis int64  `json:"total_ms"`
	Error       string `json:"error,omitempty"`
	Remedy      string `json:"remedy,omitempty"`
	// Diagnostics is the directory on the node that explains Error.
	Diagnostics string `json:"diagnostics,omitempty"`
	// Kept lists datasets that were set aside and wait for the operator.
	Kept []Dataset `json:"kept,omitempty"`
}

// TransferReport is the progress of one stream at one reader.
type TransferReport struct {
	Resync   ResyncID   `json:"resync"`
	Snapshot SnapshotID `json:"snapshot"`
	Dataset  RelName    `json:"dataset"`
	Stream   StreamID   `json:"stream"`
	// Bytes of Estimate are received (0: unknown), in Millis.
	Bytes    uint64 `json:"bytes,string"`
	Estimate uint64 `json:"estimate,string"`
	Millis   int64  `json:"ms"`
	// Rate is in bytes per second, LeftMillis how long the rest of the estimate will
	// take at that rate; 0 when that cannot be told.
	Rate       uint64 `json:"rate,omitempty,string"`
	LeftMillis int64  `json:"left_ms,omitempty"`
	// Trouble is why the transfer does not simply go on.
	Trouble string `json:"trouble,omitempty"`
}

// NodeStatus is a node's presence record.
type NodeStatus struct {
	V       int         `json:"v"`
	Cluster ClusterName `json:"cluster"`
	Node    NodeName    `json:"node"`
	// Sidecar is "primary" or "secondary".
	Sidecar  string    `json:"sidecar"`
	Version  string    `json:"version"`
	At       time.Time `json:"at"`
	Role     Role      `json:"role"`
	Identity *Identity `json:"identity,omitempty"`
	Phase    Phase     `json:"phase,omitempty"`
	Verdict  Verdict   `json:"verdict,omitempty"`
	Reason   Reason    `json:"reason,omitempty"`
	Evidence string    `json:"evidence,omitempty"`
	// Base is the newest complete snapshot of the lineage, or the newest one
	// published.
	Base SnapshotID `json:"base,omitempty"`
	// Bases are the snapshots that a standby can receive an increment on, newest
	// first; the publisher keeps them as bases. At most MaxBases.
	Bases []SnapshotID  `json:"bases,omitempty"`
	Last  *ResyncReport `json:"last,omitempty"`
	Kept  []Dataset     `json:"kept,omitempty"`
	// Paused is set while the node does nothing by itself.
	Paused *Pause `json:"paused,omitempty"`
	// Transfer is the running one's progress.
	Transfer *TransferReport `json:"transfer,omitempty"`
}

// Judgement is the verdict that holds now, with its reason and evidence. While a
// resync works nobody asks PostgreSQL, so that of a verdict from before only the one
// that began it still holds.
func (s *NodeStatus) Judgement() (Verdict, Reason, string) {
	if s.Phase.Works() && s.Verdict != VerdictResync {
		return "", "", ""
	}
	return s.Verdict, s.Reason, s.Evidence
}

// MaxBases bounds what a publisher keeps for one standby.
const MaxBases = 8

// Validate reports what is wrong with the document.
func (s *NodeStatus) Validate() error {
	if len(s.Bases) > MaxBases {
		return fmt.Errorf("bases: want at most %d, have %d", MaxBases, len(s.Bases))
	}
	if err := firstError(version(s.V), required("cluster", string(s.Cluster)), required("node", string(s.Node)), required("sidecar", s.Sidecar)); err != nil || s.Identity == nil {
		return err
	}
	return nonZero("identity.system_id", uint64(s.Identity.SystemID))
}
