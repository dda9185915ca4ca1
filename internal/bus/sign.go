package bus

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/messages"
)

// LoadSigner reads the seed of a user's nkey, "SU…".
func LoadSigner(seedFile string) (*messages.Signer, error) {
	b, err := os.ReadFile(seedFile)
	if err != nil {
		return nil, fmt.Errorf("signing seed: %w", err)
	}
	pair, err := nkeys.ParseDecoratedNKey(b)
	if err != nil {
		return nil, fmt.Errorf("signing seed in %s: %w", seedFile, err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("signing seed in %s: %w", seedFile, err)
	}
	if !nkeys.IsValidPublicUserKey(key) {
		return nil, fmt.Errorf("signing seed in %s: want that of a user, which begins with SU", seedFile)
	}
	return &messages.Signer{Key: key, Sign: pair.Sign}, nil
}

// Signer and Publishers are for internal/stream, which signs and verifies what
// goes over JetStream.
func (b *Bus) Signer() *messages.Signer { return b.cfg.Signer }

// Publishers are the pinned keys.
func (b *Bus) Publishers() messages.Keys { return b.cfg.Publishers }

// seal encodes a document and signs it for the subject it will have.
func (b *Bus) seal(subject string, d messages.Document) ([]byte, error) {
	body, err := messages.Encode(d)
	if err != nil {
		return nil, err
	}
	return b.cfg.Signer.Seal(subject, body)
}

// answerSubject is what an answer is signed for: the question and its inbox, which
// is drawn anew for every request.
func answerSubject(request, inbox string) string { return request + " " + inbox }

// bounded asks a signed trigger for an end: its signature does not age.
func (b *Bus) bounded(t *messages.Trigger, now time.Time, maxAge time.Duration) error {
	switch {
	case len(b.cfg.Operators) == 0:
		return nil
	case t.ExpiresAt.IsZero():
		return fmt.Errorf("%w: a signed trigger needs expires_at, lest it be repeated for ever", messages.ErrUntrusted)
	case t.ExpiresAt.Sub(now) > maxAge+clockSkew:
		return fmt.Errorf("%w: expires_at is more than the greatest age of a trigger, %s, away", messages.ErrUntrusted, maxAge)
	}
	return nil
}

// SignTrigger makes the body of a trigger for where keys are pinned: for this
// subject, and good for life.
func SignTrigger(by *messages.Signer, subject string, t messages.Trigger, now time.Time, life time.Duration) ([]byte, error) {
	t.V, t.ExpiresAt = messages.Version, now.Add(life).UTC()
	body, err := messages.Encode(&t)
	if err != nil {
		return nil, err
	}
	return by.Seal(subject, body)
}

// replays are the signatures of triggers that were obeyed and have not expired.
type replays map[string]replay

type replay struct {
	seq   uint64
	until time.Time
}

var errReplayed = errors.New("this very trigger was obeyed before: somebody repeated it")

// check lets the same message pass, which comes again when its acknowledgement was
// lost.
func (r replays) check(signature string, seq uint64) error {
	if old, ok := r[signature]; ok && signature != "" && old.seq != seq {
		return fmt.Errorf("%w: %w", messages.ErrUntrusted, errReplayed)
	}
	return nil
}

func (r replays) add(signature string, seq uint64, until time.Time) {
	now := time.Now()
	for s, old := range r {
		if now.After(old.until) {
			delete(r, s)
		}
	}
	if signature != "" {
		r[signature] = replay{seq, until}
	}
}
