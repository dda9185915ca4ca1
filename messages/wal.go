package messages

import (
	"errors"
	"fmt"
)

// WALClaimKind says what a standby claims of its log.
type WALClaimKind string

// The kinds.
const (
	// WALCheckpoint: a checkpoint record begins at At, with Redo and Time.
	WALCheckpoint WALClaimKind = "checkpoint"
	// WALBytes: the log from At to To has the hash SHA256.
	WALBytes WALClaimKind = "bytes"
	// WALBoundary: a record ends, and the next one begins, at At.
	WALBoundary WALClaimKind = "boundary"
)

// WALClaim is something that is true of a standby's log, and must be true of its
// primary's if the two have one history.
type WALClaim struct {
	Kind     WALClaimKind `json:"kind"`
	Timeline Timeline     `json:"timeline"`
	At       LSN          `json:"at"`
	To       LSN          `json:"to,omitempty"`
	Redo     LSN          `json:"redo,omitempty"`
	// Time is a checkpoint's, in seconds since 1970.
	Time   int64  `json:"time,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// WALVerdict is what the primary's log says to a claim.
type WALVerdict string

// The verdicts.
const (
	WALAgrees WALVerdict = "agrees"
	// WALDiffers is proof of two histories.
	WALDiffers WALVerdict = "differs"
	// WALUnknown: the log is not there any more, or not yet, or cannot be read.
	WALUnknown WALVerdict = "unknown"
)

// WALAnswer is the verdict on one claim, with the reason in words.
type WALAnswer struct {
	Verdict WALVerdict `json:"verdict"`
	Why     string     `json:"why,omitempty"`
}

const (
	// MaxWALClaims is the greatest number of claims in a request.
	MaxWALClaims = 8
	// MaxWALBytes is the longest stretch of log that a claim may span.
	MaxWALBytes = 1 << 20
)

// WALRequest asks the publisher to hold claims against its log.
type WALRequest struct {
	V       int         `json:"v"`
	Cluster ClusterName `json:"cluster"`
	Node    NodeName    `json:"node"`
	Claims  []WALClaim  `json:"claims"`
}

// Validate reports what is wrong with the document.
func (r *WALRequest) Validate() error {
	if err := firstError(version(r.V), required("cluster", string(r.Cluster)), required("node", string(r.Node))); err != nil {
		return err
	}
	if len(r.Claims) == 0 || len(r.Claims) > MaxWALClaims {
		return fmt.Errorf("claims: want 1 to %d, have %d", MaxWALClaims, len(r.Claims))
	}
	for i, c := range r.Claims {
		if err := c.validate(); err != nil {
			return fmt.Errorf("claims[%d]: %w", i, err)
		}
	}
	return nil
}

func (c *WALClaim) validate() error {
	if err := firstError(nonZero("timeline", uint64(c.Timeline)), nonZero("at", uint64(c.At))); err != nil {
		return err
	}
	switch c.Kind {
	case WALCheckpoint, WALBoundary:
		return nil
	case WALBytes:
		if c.To <= c.At || c.To.Sub(c.At) > MaxWALBytes {
			return fmt.Errorf("to: want 1 to %d bytes after at", MaxWALBytes)
		}
		return required("sha256", c.SHA256)
	}
	return errors.New("kind: want checkpoint, bytes or boundary")
}

// WALReply answers the claims, in their order.
type WALReply struct {
	V       int         `json:"v"`
	Answers []WALAnswer `json:"answers"`
}

// Validate reports what is wrong with the document.
func (r *WALReply) Validate() error {
	for _, a := range r.Answers {
		switch a.Verdict {
		case WALAgrees, WALDiffers, WALUnknown:
		default:
			return errors.New("answers: want agrees, differs or unknown")
		}
	}
	return version(r.V)
}
