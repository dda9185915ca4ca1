package resync

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgresync/pgresync/messages"
)

// The bounds that let any valid journal fit one ZFS user property.
const (
	// MaxText is the greatest length in bytes of Evidence, Error and Remedy; Clip cuts.
	MaxText = 500
	// MaxBy is the greatest length in bytes of By and Diagnostics.
	MaxBy = 256
	// MaxPasses is how many passes are remembered, the newest ones.
	MaxPasses = 16
	// MaxBegun is how many starts are remembered, the newest ones, and so the greatest
	// useful daily budget.
	MaxBegun = 32
	// MaxObeyed is how many signed triggers are remembered, the newest ones.
	MaxObeyed = 8
	digestLen = 22
)

// Journal is what a standby's sidecar must find again after a crash, in the
// property messages.PropJournal of its lineage root. It is written before the
// phase's action is done, after Clip.
type Journal struct {
	V        int               `json:"v"`
	ID       messages.ResyncID `json:"id,omitempty"`
	Phase    messages.Phase    `json:"phase"`
	Reason   messages.Reason   `json:"reason,omitempty"`
	Evidence string            `json:"evidence,omitempty"`
	// Full asks for a seed. Trigger says that an operator asked, By who.
	Full      bool      `json:"full,omitempty"`
	Trigger   bool      `json:"trigger,omitempty"`
	By        string    `json:"by,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	// Due is when the back-off ends.
	Due time.Time `json:"due,omitzero"`
	// Attempts counts the failures in a row; Begun are the starts for OverBudget, to be
	// carried over from one resync to the next.
	Attempts int         `json:"attempts,omitempty"`
	Begun    []time.Time `json:"begun,omitempty"`
	// FailedIn is the phase of the last failure that would not pass by itself, Repeats
	// how often in a row it was that one.
	FailedIn messages.Phase `json:"failed_in,omitempty"`
	Repeats  int            `json:"repeats,omitempty"`
	// Stales is how often in a row the WAL of a copy was gone before the switch.
	Stales int `json:"stales,omitempty"`
	// Blocked is the reason, of a verdict, that stopped the resync for its operator: the
	// facts may change, and it goes on by itself when they do.
	Blocked messages.Reason `json:"blocked,omitempty"`
	// Incurable remembers through a revert that no further attempt is worth it.
	Incurable bool `json:"incurable,omitempty"`
	// Proven says that the live copy is the new one and has streamed: only then may
	// ActionFinish destroy an old copy.
	Proven bool `json:"proven,omitempty"`
	// Snapshot is the target, Branch where it is received, Slot the new copy's.
	Snapshot messages.SnapshotID `json:"snapshot,omitempty"`
	Branch   messages.RelName    `json:"branch,omitempty"`
	Slot     string              `json:"slot,omitempty"`
	// TriggerAt is when the trigger was published: one that is delivered again after a
	// crash is recognised by it.
	TriggerAt time.Time `json:"trigger_at,omitzero"`
	// Obeyed are the signed triggers that were obeyed and could be sent again, by whoever
	// saw them, to a sidecar that was started anew.
	Obeyed []Obeyed `json:"obeyed,omitempty"`
	// Consent is the operator's word, or the policy's, that a node out of recovery may
	// be replaced (I-1).
	Consent bool `json:"consent,omitempty"`
	// HandOver says that the start of the new copy is somebody else's: it is tried once,
	// and proven when he has started it.
	HandOver bool `json:"hand_over,omitempty"`
	// DownSince is when PostgreSQL was asked to stop.
	DownSince time.Time `json:"down_since,omitzero"`
	// DownMillis is from DownSince to the new copy's first answer.
	DownMillis int64 `json:"down_ms,omitempty"`
	// TakenBack says that the way back undoes a stop or a switch: that cannot be seen any
	// more when it is begun again.
	TakenBack bool `json:"taken_back,omitempty"`
	// Diverged says that the old copy holds what the primary does not: it is set
	// aside, not destroyed.
	Diverged bool                  `json:"diverged,omitempty"`
	Passes   []messages.PassReport `json:"passes,omitempty"`
	Error    string                `json:"error,omitempty"`
	Remedy   string                `json:"remedy,omitempty"`
	// Diagnostics is where the last failure is explained.
	Diagnostics string `json:"diagnostics,omitempty"`
}

// Obeyed is one signed trigger: a digest of its signature, and when it expires.
type Obeyed struct {
	Digest string    `json:"digest"`
	Until  time.Time `json:"until"`
}

var _ messages.Document = (*Journal)(nil)

// NewJournal is the journal of a standby that never resynced.
func NewJournal() Journal { return Journal{V: messages.Version, Phase: messages.PhaseIdle} }

// Validate reports what is wrong with the document.
func (j *Journal) Validate() error {
	switch {
	case j.V < 1 || j.V > messages.Version:
		return fmt.Errorf("version %d: want 1 to %d", j.V, messages.Version)
	case ActionOf(j.Phase) == ActionNone:
		return fmt.Errorf("phase %q is none of the table", Clip(string(j.Phase), 40))
	case len(j.Evidence) > MaxText || len(j.Error) > MaxText || len(j.Remedy) > MaxText:
		return fmt.Errorf("evidence, error or remedy: more than %d bytes", MaxText)
	case len(j.Diagnostics) > MaxBy:
		return fmt.Errorf("diagnostics: more than %d bytes", MaxBy)
	case len(j.By) > MaxBy || len(j.Reason) > 64 || len(j.Slot) > 63:
		return errors.New("by, reason or slot: too long")
	case len(j.Passes) > MaxPasses || len(j.Begun) > MaxBegun || len(j.Obeyed) > MaxObeyed:
		return fmt.Errorf("passes, begun or obeyed: more than %d, %d or %d", MaxPasses, MaxBegun, MaxObeyed)
	case slices.ContainsFunc(j.Obeyed, func(o Obeyed) bool { return len(o.Digest) != digestLen }):
		return fmt.Errorf("obeyed: want digests of %d characters", digestLen)
	case j.Attempts < 0 || j.Repeats < 0 || j.Stales < 0:
		return errors.New("attempts, repeats or stales: negative")
	case j.FailedIn != "" && ActionOf(j.FailedIn) == ActionNone:
		return fmt.Errorf("failed in %q, which is none of the table", Clip(string(j.FailedIn), 40))
	}
	return j.validateWork()
}

// validateWork: every phase after the request needs to know which resync it is,
// and those that touch the live copy what they put there.
func (j *Journal) validateWork() error {
	switch j.Phase {
	case messages.PhaseIdle, messages.PhaseRequested, messages.PhaseNeedsOperator, messages.PhaseWaiting:
		return nil
	case messages.PhaseStopping, messages.PhaseSwitching, messages.PhaseStarting, messages.PhaseProving, messages.PhaseReverting,
		messages.PhaseClearing, messages.PhaseDiscarding:
		if j.Snapshot == "" || j.Branch == "" {
			return fmt.Errorf("phase %s without snapshot or branch", j.Phase)
		}
	case messages.PhasePlanning, messages.PhaseReceiving, messages.PhaseStaging:
	}
	if j.ID == "" {
		return fmt.Errorf("phase %s without an id", j.Phase)
	}
	return nil
}

// Named says that an operator asked for this very node. Trigger does not say it: it
// ends with a revert, lest a standby that streams again is taken down once more.
func (j *Journal) Named() bool { return j.Consent && j.Reason == messages.ReasonRequested }

// Obey notes a signed trigger, and forgets those that have expired. False: it was
// obeyed before. A trigger without a signature is always a new one.
func (j *Journal) Obey(t *messages.Trigger, now time.Time) bool {
	if t.Signature == "" {
		return true
	}
	sum := sha256.Sum256([]byte(t.Signature))
	digest := base64.RawURLEncoding.EncodeToString(sum[:16])
	var kept []Obeyed
	for _, o := range j.Obeyed {
		if o.Digest == digest {
			return false
		}
		if now.Before(o.Until) {
			kept = append(kept, o)
		}
	}
	j.Obeyed = newest(append(kept, Obeyed{digest, t.ExpiresAt.UTC()}), MaxObeyed)
	return true
}

// Begin notes a start for OverBudget.
func (j *Journal) Begin(now time.Time) {
	j.Begun = newest(append(slices.Clone(j.Begun), now.UTC().Truncate(time.Second)), MaxBegun)
}

// Clip cuts texts and lists to what Validate allows, the newest of a list stay.
// Call it before the journal is written.
func (j *Journal) Clip() {
	j.Evidence, j.Error, j.Remedy = Clip(j.Evidence, MaxText), Clip(j.Error, MaxText), Clip(j.Remedy, MaxText)
	j.By, j.Diagnostics = Clip(j.By, MaxBy), Clip(j.Diagnostics, MaxBy)
	j.Passes, j.Begun, j.Obeyed = newest(j.Passes, MaxPasses), newest(j.Begun, MaxBegun), newest(j.Obeyed, MaxObeyed)
}

func newest[T any](s []T, most int) []T { return s[max(0, len(s)-most):] }

// Clip cuts s to at most most bytes of valid UTF-8 without control characters:
// what JSON would write as six bytes could grow out of the property.
func Clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	const mark = "…"
	cut := max(0, most-len(mark))
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}
