package messages

import (
	"bytes"
	"errors"
	"time"
)

// AllNodes addresses a resync trigger to every node.
const AllNodes = "all"

// Trigger is the optional body of a trigger; an empty one has the defaults.
type Trigger struct {
	V int `json:"v,omitempty"`
	// By and Reason are for the record.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Full asks for a seed even where a base exists.
	Full bool `json:"full,omitempty"`
	// ExpiresAt, when set, ends the trigger's life earlier than the receiver's
	// own limit on its age.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Signature is that by which the trigger was believed, "" where none is asked for. It
	// is no part of the document.
	Signature string `json:"-"`
}

// maxTrigger is in bytes.
const maxTrigger = 4096

// DecodeTrigger reads a trigger's body; an empty or blank one is the default.
func DecodeTrigger(b []byte) (Trigger, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return Trigger{V: Version}, nil
	}
	t := Trigger{V: Version}
	err := decode(b, maxTrigger, &t)
	return t, err
}

// Validate reports what is wrong with the document.
func (t *Trigger) Validate() error {
	if len(t.By) > 256 || len(t.Reason) > 1024 {
		return errors.New("by or reason: too long (256 and 1024 bytes are allowed)")
	}
	return version(t.V)
}
