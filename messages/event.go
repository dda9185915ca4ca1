package messages

import (
	"errors"
	"time"
)

// EventType is the kind of an event; it is a token of the subject too.
type EventType string

// The events.
const (
	EventSnapshotReady EventType = "snapshot-ready"
	EventPhase         EventType = "resync-phase"
	EventTransfer      EventType = "transfer"
	EventRejoined      EventType = "rejoined"
	EventFailed        EventType = "resync-failed"
	EventNeedsOperator EventType = "needs-operator"
	EventVerdict       EventType = "verdict"
	EventRoleChanged   EventType = "role-changed"
	EventPaused        EventType = "paused"
	EventResumed       EventType = "resumed"
	EventRefused       EventType = "refused" // a request or trigger that was not obeyed
)

// Event is what is published for people and programs to follow.
type Event struct {
	V       int         `json:"v"`
	ID      MessageID   `json:"id"`
	Type    EventType   `json:"type"`
	Cluster ClusterName `json:"cluster"`
	Node    NodeName    `json:"node"`
	At      time.Time   `json:"at"`
	// Text is one sentence for people.
	Text string `json:"text"`
	// Exactly the fields that the type calls for are set.
	Snapshot *Manifest       `json:"snapshot,omitempty"`
	Resync   *ResyncReport   `json:"resync,omitempty"`
	Transfer *TransferReport `json:"transfer,omitempty"`
	Verdict  Verdict         `json:"verdict,omitempty"`
	Reason   Reason          `json:"reason,omitempty"`
	Role     Role            `json:"role,omitempty"`
}

// Validate reports what is wrong with the document.
func (e *Event) Validate() error {
	if err := firstError(
		version(e.V),
		required("id", string(e.ID)),
		token("type", string(e.Type)),
		required("cluster", string(e.Cluster)),
		required("node", string(e.Node)),
	); err != nil {
		return err
	}
	if e.Snapshot != nil {
		return e.Snapshot.Validate()
	}
	if e.Type == EventSnapshotReady {
		return errors.New("snapshot: missing")
	}
	return nil
}
