package messages

import (
	"errors"
	"strings"
	"time"
)

// WALStatus is the wal_status column of pg_replication_slots.
type WALStatus string

// The values (PostgreSQL 15, view-pg-replication-slots).
const (
	WALReserved   WALStatus = "reserved"
	WALExtended   WALStatus = "extended"
	WALUnreserved WALStatus = "unreserved"
	WALLost       WALStatus = "lost"
)

// SlotState is one physical replication slot.
type SlotState struct {
	Name string `json:"name"`
	// RestartLSN is 0 when nothing is reserved.
	RestartLSN LSN       `json:"restart_lsn"`
	Active     bool      `json:"active"`
	WALStatus  WALStatus `json:"wal_status,omitempty"`
}

// Keeps reports whether the slot guarantees all WAL from lsn on (I-8).
// segmentSize is in bytes: PostgreSQL keeps whole segment files.
func (s SlotState) Keeps(lsn LSN, segmentSize uint64) bool {
	return s.RestartLSN != 0 && s.RestartLSN.SegmentStart(segmentSize) <= lsn &&
		(s.WALStatus == WALReserved || s.WALStatus == WALExtended)
}

// slotPrefix begins the name of every slot of ours; no other is ever dropped.
const slotPrefix = "pgresync_"

// SlotName is the slot of one copy on one node: a new copy never shares the slot
// of the one it replaces, so that a revert finds its own untouched. At most 58
// characters of [a-z0-9_] (PostgreSQL allows 63).
func SlotName(n NodeName, id ResyncID) string {
	return slotPrefix + strings.ReplaceAll(string(n), "-", "_") + "_" + string(id[max(0, len(id)-14):])
}

// SlotIsOf reports whether the slot's name is one that SlotName makes for n.
func SlotIsOf(slot string, n NodeName) bool {
	rest, ok := strings.CutPrefix(slot, slotPrefix+strings.ReplaceAll(string(n), "-", "_")+"_")
	return ok && len(rest) == 14 && strings.Trim(rest, "0123456789abcdefghjkmnpqrstvwxyz") == ""
}

// FactsRequest asks the publisher what it has for a node.
type FactsRequest struct {
	V       int         `json:"v"`
	Cluster ClusterName `json:"cluster"`
	Node    NodeName    `json:"node"`
}

// Validate reports what is wrong with the document.
func (r *FactsRequest) Validate() error {
	return firstError(version(r.V), required("cluster", string(r.Cluster)), required("node", string(r.Node)))
}

// PrimaryFacts is what a standby must know of the publisher to decide whether,
// and from which base, to resync.
type PrimaryFacts struct {
	V        int         `json:"v"`
	Cluster  ClusterName `json:"cluster"`
	Node     NodeName    `json:"node"`
	Lease    uint64      `json:"lease,string"`
	At       time.Time   `json:"at"`
	Identity Identity    `json:"identity"`
	// OldestWAL is the first position still in pg_wal.
	OldestWAL LSN `json:"oldest_wal"`
	// WALSegmentSize is in bytes.
	WALSegmentSize uint64 `json:"wal_segment_size,string"`
	// Slots are the asking node's.
	Slots []SlotState `json:"slots"`
	// Streaming is whether pg_stat_replication shows a walsender in state
	// streaming for one of Slots.
	Streaming bool `json:"streaming"`
	// Snapshot is the newest complete one, nil when there is none.
	Snapshot *Manifest `json:"snapshot,omitempty"`
	// Datasets are the versions of each dataset that can be a base or a target.
	Datasets []DatasetHistory `json:"datasets"`
}

// DatasetHistory is one dataset's versions.
type DatasetHistory struct {
	Name    RelName `json:"name"`
	History History `json:"history"`
}

// Validate reports what is wrong with the document.
func (f *PrimaryFacts) Validate() error {
	if err := firstError(
		version(f.V),
		required("cluster", string(f.Cluster)),
		required("node", string(f.Node)),
		nonZero("identity.system_id", uint64(f.Identity.SystemID)),
	); err != nil {
		return err
	}
	if len(f.Datasets) > maxDatasets {
		return errors.New("datasets: too many")
	}
	if f.Snapshot != nil {
		return f.Snapshot.Validate()
	}
	return nil
}

// History finds one dataset's versions.
func (f *PrimaryFacts) History(name RelName) History {
	for _, d := range f.Datasets {
		if d.Name == name {
			return d.History
		}
	}
	return nil
}

// SnapshotRequest asks for a bracketed snapshot. One that satisfies it and
// exists already is the answer; requests that come together share a new one.
type SnapshotRequest struct {
	V       int         `json:"v"`
	Cluster ClusterName `json:"cluster"`
	Node    NodeName    `json:"node"`
	// MinStartLSN is the least acceptable start_lsn: where the asker's slot begins.
	MinStartLSN LSN `json:"min_start_lsn"`
	// MaxAgeMS is the greatest acceptable age in milliseconds; 0 wants a new one.
	MaxAgeMS int64 `json:"max_age_ms"`
}

// Validate reports what is wrong with the document.
func (r *SnapshotRequest) Validate() error {
	return firstError(version(r.V), required("cluster", string(r.Cluster)), required("node", string(r.Node)), nonNegative("max_age_ms", r.MaxAgeMS))
}

// SlotAction is what is to be done with a slot.
type SlotAction string

// The actions.
const (
	SlotReserve SlotAction = "reserve" // make it, or move it on to now; WAL is kept from here
	SlotRelease SlotAction = "release" // drop it
	SlotKeep    SlotAction = "keep"    // drop all others of the node
)

// SlotRequest asks the publisher to act on the slot of one copy.
type SlotRequest struct {
	V       int         `json:"v"`
	Cluster ClusterName `json:"cluster"`
	Node    NodeName    `json:"node"`
	Resync  ResyncID    `json:"resync"`
	Action  SlotAction  `json:"action"`
	// From, with reserve, is where WAL is to be kept from instead of now, on Timeline:
	// it is refused as not found when it is gone.
	From     LSN      `json:"from,omitempty"`
	Timeline Timeline `json:"timeline,omitempty"`
}

// Validate reports what is wrong with the document.
func (r *SlotRequest) Validate() error {
	if err := firstError(version(r.V), required("cluster", string(r.Cluster)), required("node", string(r.Node)), required("resync", string(r.Resync))); err != nil {
		return err
	}
	switch r.Action {
	case SlotReserve, SlotRelease, SlotKeep:
		if r.From != 0 && (r.Action != SlotReserve || r.Timeline == 0) {
			return errors.New("from: want it with reserve, and with a timeline")
		}
		return nil
	}
	return errors.New("action: want reserve, release or keep")
}

// SlotReply is the slot after the action.
type SlotReply struct {
	V    int       `json:"v"`
	Slot SlotState `json:"slot"`
}

// Validate reports what is wrong with the document.
func (r *SlotReply) Validate() error { return version(r.V) }

// ErrorReply is what a service answers when it cannot. It repeats what the micro
// headers say, because `nats req` exits 0 and may hide them.
type ErrorReply struct {
	V    int       `json:"v"`
	OK   bool      `json:"ok"` // always false
	Code ErrorCode `json:"code"`
	// Error says operation, object and cause; Remedy what an operator can do.
	Error  string `json:"error"`
	Remedy string `json:"remedy,omitempty"`
}

// Validate reports what is wrong with the document.
func (r *ErrorReply) Validate() error {
	return firstError(version(r.V), required("code", string(r.Code)), required("error", r.Error))
}

// ErrorCode classes the failures of services.
type ErrorCode string

// The codes.
const (
	CodeBadRequest  ErrorCode = "bad-request" // the document is malformed or contradicts itself
	CodeNotPrimary  ErrorCode = "not-primary" // this node does not publish now
	CodeNotFound    ErrorCode = "not-found"   // the snapshot or base is gone; plan again
	CodeRefused     ErrorCode = "refused"     // a gate is closed; the text says which
	CodeUnavailable ErrorCode = "unavailable" // try again later
	CodeInternal    ErrorCode = "internal"    // a defect or an unknown failure
)
