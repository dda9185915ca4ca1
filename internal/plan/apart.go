package plan

import (
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Comparable reports whether this copy's log can be held against the primary's: it
// is a standby of the same cluster.
func (f Facts) Comparable() bool {
	if f.Primary == nil || f.Primary.Identity.Role != messages.RolePrimary || f.Primary.Node == f.Node || !f.inRecovery() {
		return false
	}
	have := messages.SystemID(0)
	switch {
	case f.Local != nil:
		have = f.Local.SystemID
	case f.Control != nil && f.StandbySignal:
		have = f.Control.SystemID
	}
	return have == f.Primary.Identity.SystemID
}

// CompareAfter is for how long a comparison of the two logs stands. Who streams
// has joined the primary's log already, and is looked at now and then only.
func CompareAfter(streaming bool) time.Duration {
	if streaming {
		return time.Hour
	}
	return 15 * time.Second
}

// ControlClaims is what a stopped standby can say of its log.
func ControlClaims(c messages.ControlData) []messages.WALClaim {
	if c.CheckpointLSN == 0 || c.Timeline == 0 || c.CheckpointTime.IsZero() {
		return nil
	}
	return []messages.WALClaim{{
		Kind: messages.WALCheckpoint, Timeline: c.Timeline, At: c.CheckpointLSN, Redo: c.RedoLSN, Time: c.CheckpointTime.Unix(),
	}}
}

// Apart reads the primary's answers: evidence that the two logs are not one, and
// whether anything could be told at all. One difference is proof, for a log is
// never changed once it was replayed.
func Apart(answers []messages.WALAnswer) (evidence string, told bool) {
	for _, a := range answers {
		switch a.Verdict {
		case messages.WALDiffers:
			return a.Why, true
		case messages.WALAgrees:
			told = true
		case messages.WALUnknown:
		}
	}
	return "", told
}

// seenAhead is the position at which this standby was ahead of its own primary, on
// one timeline: the primary has lost what it had sent. Soon it will have written
// past that position, other things, and positions tell nothing any more.
//
// Position was read before the primary was asked, so that a standby that merely
// streams is never ahead by it, unless it stands behind a switch (see surely).
func (f Facts) seenAhead() messages.LSN {
	if !f.Comparable() || f.Local == nil {
		return f.Ahead
	}
	s := f.stand()
	switch {
	case s.timeline != f.Primary.Identity.Timeline.Current:
		return 0 // the fork decides
	case f.Ahead != 0:
		return f.Ahead
	case f.surely(f.Position) > f.Primary.Identity.LSN && s.lsn >= f.Position:
		return f.Position
	}
	return 0
}

// apart: two histories may be on one timeline (PG-10). PostgreSQL itself connects,
// stumbles over the log it gets or, worse, does not, and keeps on showing rows that
// the primary never had.
func apart(f Facts, _ Policy) (Diagnosis, bool) {
	why := f.Apart
	if why == "" && f.Ahead != 0 {
		why = fmt.Sprintf("it had replayed to %s when the primary's log ended before that", f.Ahead)
	}
	if why == "" {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictResync, messages.ReasonDiverged,
		"this standby's log is another one than that of the primary %s on the same timeline %s: %s",
		f.Primary.Node, f.Primary.Identity.Timeline.Current, why), true
}
