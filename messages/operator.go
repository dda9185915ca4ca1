package messages

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// OperatorVerb is what an operator asks a sidecar for; the last token of the
// request's subject, and the name of the micro endpoint.
type OperatorVerb string

// The verbs.
const (
	VerbStatus   OperatorVerb = "status"
	VerbSnapshot OperatorVerb = "snapshot" // primary sidecar only
	VerbStreams  OperatorVerb = "streams"  // primary sidecar only
	VerbResync   OperatorVerb = "resync"   // secondary sidecar only
	VerbPause    OperatorVerb = "pause"
	VerbResume   OperatorVerb = "resume"
	VerbCleanup  OperatorVerb = "cleanup"
)

// The names of the two sidecars of a node.
const (
	SidecarPrimary   = "primary"
	SidecarSecondary = "secondary"
)

// OperatorRequest is the optional body of an operator's request; an empty one has
// the defaults.
type OperatorRequest struct {
	V int `json:"v,omitempty"`
	// By and Reason are for the record.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// DryRun asks what would be done (resync, cleanup).
	DryRun bool `json:"dry_run,omitempty"`
	// Full asks for a seed even where a base exists (resync).
	Full bool `json:"full,omitempty"`
	// All says that every node was asked: then the request is no consent to replace
	// one that was promoted (resync).
	All bool `json:"all,omitempty"`
	// Resume lifts a pause first (resync).
	Resume bool `json:"resume,omitempty"`
	// HandOver asks for a copy whose start is the asker's business (resync). He asks
	// again, with Resync, until it is in place: when he falls silent before that,
	// nothing is switched.
	HandOver bool `json:"hand_over,omitempty"`
	// DataDir is where he will start PostgreSQL; another place is refused.
	DataDir string `json:"data_dir,omitempty"`
	// Resync is the one that was begun for him.
	Resync ResyncID `json:"resync,omitempty"`
	// ExpiresAt ends the life of a signed request, which needs one.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// DecodeOperatorRequest reads the body of a request for verb; an empty or blank
// one is the default. What verb has no use for is refused, because whoever sent it
// expects it to matter.
func DecodeOperatorRequest(verb OperatorVerb, b []byte) (OperatorRequest, error) {
	r := OperatorRequest{V: Version}
	if len(bytes.TrimSpace(b)) > 0 {
		if err := decode(b, maxTrigger, &r); err != nil {
			return r, err
		}
	}
	if err := r.fits(verb); err != nil {
		return r, fmt.Errorf("decode %T for %s: %w: %w", r, verb, ErrBadDocument, err)
	}
	return r, nil
}

// Validate reports what is wrong with the document.
func (r *OperatorRequest) Validate() error {
	if len(r.By) > 256 || len(r.Reason) > 1024 || len(r.DataDir) > 1024 {
		return errors.New("by, reason or data_dir: too long (256 and 1024 bytes are allowed)")
	}
	return version(r.V)
}

func (r *OperatorRequest) fits(verb OperatorVerb) error {
	switch {
	case r.DryRun && verb != VerbResync && verb != VerbCleanup:
		return fmt.Errorf("dry_run: %s has no dry run", verb)
	case (r.Full || r.All || r.Resume) && verb != VerbResync:
		return fmt.Errorf("full, all or resume: they mean nothing to %s", verb)
	case r.HandOver && verb != VerbResync:
		return fmt.Errorf("hand_over: it means nothing to %s", verb)
	case (r.DataDir != "" || r.Resync != "") && !r.HandOver:
		return errors.New("data_dir or resync: they belong to hand_over")
	case r.HandOver && (r.DryRun || r.All):
		return errors.New("hand_over: it has no dry run, and is for one node")
	}
	return nil
}

// OperatorReply answers an operator's request that was granted; what was not is an
// ErrorReply. Which of the optional parts is set follows from the verb.
type OperatorReply struct {
	V       int      `json:"v"`
	OK      bool     `json:"ok"` // always true
	Node    NodeName `json:"node"`
	Sidecar string   `json:"sidecar"`
	// Text is one sentence for people.
	Text string `json:"text"`
	// Resync is the one that was begun, or joined; Snapshot the one that was taken.
	Resync   ResyncID       `json:"resync,omitempty"`
	Snapshot SnapshotID     `json:"snapshot,omitempty"`
	Status   *NodeStatus    `json:"status,omitempty"`
	Plan     *ResyncPlan    `json:"plan,omitempty"`
	Cleanup  *CleanupReport `json:"cleanup,omitempty"`
	Streams  []StreamRecord `json:"streams,omitempty"`
}

// Validate reports what is wrong with the document.
func (r *OperatorReply) Validate() error {
	if err := firstError(version(r.V), required("node", string(r.Node)), required("sidecar", r.Sidecar), required("text", r.Text)); err != nil {
		return err
	}
	if !r.OK {
		return errors.New("ok: want true")
	}
	if r.Status != nil {
		return r.Status.Validate()
	}
	return nil
}

// Pause says that a node does nothing by itself, since when and why.
type Pause struct {
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// String is for error texts and tables.
func (p Pause) String() string {
	s := "since " + p.At.UTC().Format("2006-01-02 15:04Z")
	if p.By != "" {
		s += " by " + p.By
	}
	if p.Reason != "" {
		s += ": " + p.Reason
	}
	return s
}

// PauseRecord is Pause as a document of its own: what keeps it over a restart.
type PauseRecord struct {
	V int `json:"v"`
	Pause
}

// Validate reports what is wrong with the document.
func (p *PauseRecord) Validate() error {
	if err := version(p.V); err != nil {
		return err
	}
	if p.At.IsZero() {
		return errors.New("at: missing")
	}
	return nil
}

// ResyncPlan is what a resync would do now.
type ResyncPlan struct {
	Publisher NodeName `json:"publisher"`
	// Target is the publisher's newest snapshot, "" when it has none. The resync may
	// take a newer one; Since says how much that adds.
	Target SnapshotID `json:"target,omitempty"`
	Base   SnapshotID `json:"base,omitempty"`
	Kind   PassKind   `json:"kind"`
	Steps  []PlanStep `json:"steps,omitempty"`
	// Bytes of all steps together, and Since: what was written on the publisher since
	// Target, before compression of the stream. Available is what the pool has left.
	Bytes     uint64 `json:"bytes,string"`
	Since     uint64 `json:"since,string"`
	Available uint64 `json:"available,string"`
	// Obstacles are what would stop it, one sentence each; none: it would begin.
	Obstacles []string `json:"obstacles,omitempty"`
}

// PlanStep is one dataset's part.
type PlanStep struct {
	Dataset RelName    `json:"dataset"`
	Kind    PassKind   `json:"kind"`
	Base    SnapshotID `json:"base,omitempty"`
	// Resumes is set when a partial receive goes on.
	Resumes bool `json:"resumes,omitempty"`
	// Bytes is zfs send -nP's estimate, or what the dataset refers to; 0 when unknown.
	Bytes uint64 `json:"bytes,string"`
}

// CleanupReport is what was removed, or would be.
type CleanupReport struct {
	DryRun bool          `json:"dry_run,omitempty"`
	Items  []CleanupItem `json:"items,omitempty"`
	// Kept are datasets that only their operator may remove.
	Kept []Dataset `json:"kept,omitempty"`
}

// CleanupItem is one thing of ours that nobody needs.
type CleanupItem struct {
	// Kind is "dataset", "snapshot", "bookmark" or "slot".
	Kind string `json:"kind"`
	Name string `json:"name"`
	Why  string `json:"why"`
}

// EstimateReply is how much a stream would move.
type EstimateReply struct {
	V int `json:"v"`
	// Bytes is zfs send -nP's word on the stream; Written is what was written to the
	// dataset since its newest snapshot.
	Bytes   uint64 `json:"bytes,string"`
	Written uint64 `json:"written,string"`
}

// Validate reports what is wrong with the document.
func (r *EstimateReply) Validate() error { return version(r.V) }
