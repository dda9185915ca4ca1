package messages

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ResumeToken is what `zfs get receive_resume_token` prints after a receive was
// cut. It comes from the other side of the network and is checked against the
// expected GUIDs before `zfs send -t` sees it (openzfs#14153).
type ResumeToken string

// maxToken is generous: tokens of OpenZFS 2.3 have a few hundred characters.
const maxToken = 4096

// UnmarshalText checks length and alphabet: "1-<hex>-<hex>-<hex>".
func (t *ResumeToken) UnmarshalText(b []byte) error {
	if len(b) > maxToken || strings.Trim(string(b), "0123456789abcdef-") != "" || strings.HasPrefix(string(b), "-") {
		return fmt.Errorf("resume token %q: want hexadecimal digits and '-', at most %d of them", clip(string(b)), maxToken)
	}
	*t = ResumeToken(b)
	return nil
}

// StreamRequest asks the publisher for one dataset's stream. A request for a
// stream that is being uploaded joins it.
type StreamRequest struct {
	V       int         `json:"v"`
	Cluster ClusterName `json:"cluster"`
	// Node is the reader.
	Node    NodeName `json:"node"`
	Dataset RelName  `json:"dataset"`
	To      GUID     `json:"to"`
	// From is the base; 0 asks for a full stream.
	From GUID `json:"from"`
	// Token continues a partial receive of the same To and From.
	Token ResumeToken `json:"token,omitempty"`
	// Not is an attempt that the reader could not use: it asks for another one.
	Not MessageID `json:"not,omitempty"`
	// Room is what the reader's pool has left, in bytes; 0 when it does not say. A
	// stream that is estimated to need more is refused before it is begun.
	Room uint64 `json:"room,omitempty,string"`
}

// Validate reports what is wrong with the document.
func (r *StreamRequest) Validate() error {
	if err := firstError(
		version(r.V),
		required("cluster", string(r.Cluster)),
		required("node", string(r.Node)),
		nonZero("to", uint64(r.To)),
	); err != nil {
		return err
	}
	if r.Not != "" {
		if err := token("not", string(r.Not)); err != nil {
			return err
		}
	}
	if r.To == r.From {
		return errors.New("to and from are the same snapshot")
	}
	return nil
}

// StreamState is what a stream's upload is doing.
type StreamState string

// The states.
const (
	StreamRunning  StreamState = "running"
	StreamComplete StreamState = "complete"
	StreamFailed   StreamState = "failed"
)

// StreamRecord describes a stream: the answer to a request, and the KV record.
type StreamRecord struct {
	V       int         `json:"v"`
	Stream  StreamID    `json:"stream"`
	Cluster ClusterName `json:"cluster"`
	// Node is the publisher.
	Node    NodeName  `json:"node"`
	Dataset RelName   `json:"dataset"`
	To      GUID      `json:"to"`
	From    GUID      `json:"from"`
	Flags   SendFlags `json:"flags"`
	Resumed bool      `json:"resumed,omitempty"`
	// Recipients are the public keys (age1…) that the stream is encrypted to, sorted;
	// none when it is not.
	Recipients []string `json:"recipients,omitempty"`
	// Attempt tells one run of zfs send from the next: the bytes of two runs are
	// never spliced.
	Attempt MessageID   `json:"attempt"`
	State   StreamState `json:"state"`
	// Consumer is the asker's durable consumer on Subjects.PartsStream, in an answer
	// only: who knows the name may read and acknowledge in the asker's place.
	Consumer string `json:"consumer,omitempty"`
	// Estimate is zfs send -nP's, in bytes; 0 when unknown.
	Estimate uint64 `json:"estimate,string"`
	// Sent is what has been uploaded so far, in bytes.
	Sent uint64 `json:"sent,string"`
	// Rate is how fast Sent grows, in bytes per second, and LeftMillis how long the
	// rest of the estimate will take at that rate; 0 when that cannot be told.
	Rate       uint64 `json:"rate,omitempty,string"`
	LeftMillis int64  `json:"left_ms,omitempty"`
	// Paused is true while zfs send waits for readers to take what is uploaded.
	Paused  bool       `json:"paused,omitempty"`
	Parts   int        `json:"parts"`
	Readers []NodeName `json:"readers"`
	Error   string     `json:"error,omitempty"`
	Lease   uint64     `json:"lease,string"`
	At      time.Time  `json:"at"`
}

// Validate reports what is wrong with the document.
func (r *StreamRecord) Validate() error {
	return firstError(
		version(r.V),
		required("stream", string(r.Stream)),
		required("cluster", string(r.Cluster)),
		required("node", string(r.Node)),
		token("attempt", string(r.Attempt)),
		nonZero("to", uint64(r.To)),
		r.Flags.validate(),
		optionalName("consumer", r.Consumer),
		r.checkRecipients(),
	)
}

// MaxRecipients bounds how many keys a stream is encrypted to.
const MaxRecipients = 64

// checkRecipients holds them to the form of age's X25519 keys (age-encryption.org/v1):
// lower case Bech32 of 32 bytes.
func (r *StreamRecord) checkRecipients() error {
	if len(r.Recipients) > MaxRecipients {
		return fmt.Errorf("recipients: %d keys are more than the %d allowed", len(r.Recipients), MaxRecipients)
	}
	for i, key := range r.Recipients {
		data, ok := strings.CutPrefix(key, "age1")
		if !ok || len(data) != 58 || strings.Trim(data, "qpzry9x8gf2tvdw0s3jn54khce6mua7l") != "" {
			return fmt.Errorf("recipients: %q is no public key of age", clip(key))
		}
		if i > 0 && r.Recipients[i-1] >= key {
			return errors.New("recipients: the keys are not sorted, or one is there twice")
		}
	}
	return nil
}

// Part announces one stored piece of a stream.
type Part struct {
	V       int       `json:"v"`
	Stream  StreamID  `json:"stream"`
	Attempt MessageID `json:"attempt"`
	// Index counts from 0 without gaps.
	Index int `json:"index"`
	// Offset is of the part's first byte in the stream.
	Offset uint64 `json:"offset,string"`
	// Size is in bytes.
	Size uint64 `json:"size,string"`
	// Object is the part's name in the bucket, Nuid its chunks' subject token.
	Object string `json:"object"`
	Nuid   string `json:"nuid"`
	Chunks int    `json:"chunks"`
	SHA256 string `json:"sha256"`
	// Chain is SHA-256(previous chain + SHA256), hexadecimal, "" before part 0: it
	// exposes loss, reorder and truncation.
	Chain string `json:"chain"`
}

// MaxPartSize bounds what a reader will hold in memory for one part.
const MaxPartSize = 128 << 20

// Validate reports what is wrong with the document.
func (p *Part) Validate() error {
	if err := firstError(
		version(p.V),
		required("stream", string(p.Stream)),
		token("attempt", string(p.Attempt)),
		required("object", p.Object),
		nonZero("size", p.Size),
		checkHex("sha256", p.SHA256),
		checkHex("chain", p.Chain),
		token("nuid", p.Nuid),
	); err != nil {
		return err
	}
	if p.Size > MaxPartSize {
		return fmt.Errorf("size: %d bytes are more than the %d allowed", p.Size, MaxPartSize)
	}
	if p.Index < 0 || p.Chunks < 1 || uint64(p.Chunks) > p.Size {
		return fmt.Errorf("index %d or chunks %d out of range", p.Index, p.Chunks)
	}
	return nil
}

// StreamEnd closes a stream. It is published only after zfs send exited 0, or
// with Error set.
type StreamEnd struct {
	V       int       `json:"v"`
	Stream  StreamID  `json:"stream"`
	Attempt MessageID `json:"attempt"`
	Parts   int       `json:"parts"`
	// Size is the total, in bytes.
	Size  uint64 `json:"size,string"`
	Chain string `json:"chain"`
	To    GUID   `json:"to"`
	From  GUID   `json:"from"`
	// Error is set when the stream is not complete and never will be.
	Error string `json:"error,omitempty"`
}

// Validate reports what is wrong with the document.
func (e *StreamEnd) Validate() error {
	err := firstError(
		version(e.V),
		required("stream", string(e.Stream)),
		token("attempt", string(e.Attempt)),
	)
	if err != nil || e.Error != "" {
		return err
	}
	if e.Parts < 1 {
		return errors.New("parts: a complete stream has at least one")
	}
	return firstError(checkHex("chain", e.Chain), nonZero("to", uint64(e.To)), nonZero("size", e.Size))
}
