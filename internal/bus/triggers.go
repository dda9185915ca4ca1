package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Triggers hands the commands on subjects to handle, one at a time and in order,
// until ctx is done; then it returns nil. A command that came while nobody
// listened is delivered later, if it is not older than maxAge by the server's
// clock against ours and not past its own expiry; otherwise it is dropped and
// reported (ErrStale), as is one that does not decode (ErrBadDocument).
//
// A command is acknowledged after handle returned nil, which must mean that it
// is journaled, and comes again after a growing delay when handle returns an
// error. In one process a command is handled once; after a crash between handle
// and the acknowledgement it comes again, with the same time at.
//
// A durable the server has not seen begins maxAge ago, so that a command sent
// before the very first start is obeyed.
func (b *Bus) Triggers(ctx context.Context, durable string, subjects []string, maxAge time.Duration,
	handle func(ctx context.Context, target messages.TriggerTarget, t messages.Trigger, at time.Time) error,
) error {
	if err := b.checkTriggers(subjects, maxAge); err != nil {
		return err
	}
	seen := replays{}
	c := &consumer{durable: durable, subjects: subjects}
	c.start = func(cfg *jetstream.ConsumerConfig) {
		begin := time.Now().Add(-maxAge).UTC()
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &begin
	}
	c.handle = func(ctx context.Context, m jetstream.Msg, md *jetstream.MsgMetadata) outcome {
		if !c.matchesAny(m.Subject()) {
			return done // another node's; see commonFilter
		}
		target, t, signature, err := b.readTrigger(m, md.Timestamp, maxAge)
		if err == nil {
			err = seen.check(signature, md.Sequence.Stream)
		}
		if err != nil {
			b.cfg.OnAsyncError(fmt.Errorf("trigger %d on %s dropped: %w", md.Sequence.Stream, m.Subject(), err))
			return refuse
		}
		result := b.settle(ctx, m, handle(ctx, target, t, md.Timestamp))
		if result == done {
			seen.add(signature, md.Sequence.Stream, t.ExpiresAt)
		}
		return result
	}
	return b.consume(ctx, c)
}

// reflected refuses what JetStream sent here on somebody's request: whoever may
// ask it for anything names the subject of its answers, and an answer without a
// body would be a trigger. Most answers have headers of JetStream's; the status
// line itself is not stored, so that an empty "404 No Messages" looks like what
// an operator sends. Only pinned keys tell them apart.
func reflected(h nats.Header) error {
	for key := range h {
		if key == "Status" || strings.HasPrefix(key, "KV-") || strings.HasPrefix(key, "Nats-") && !slices.Contains(triggerHeaders, key) {
			return fmt.Errorf("%w: it has the header %s, which makes it an answer of JetStream that somebody led here", messages.ErrBadDocument, key)
		}
	}
	return nil
}

// triggerHeaders may be on what a client published.
var triggerHeaders = []string{
	jetstream.MsgIDHeader, jetstream.ExpectedStreamHeader, jetstream.ExpectedLastSeqHeader,
	jetstream.ExpectedLastMsgIDHeader, jetstream.ExpectedLastSubjSeqHeader, jetstream.MsgTTLHeader,
}

func (b *Bus) checkTriggers(subjects []string, maxAge time.Duration) error {
	if len(subjects) == 0 {
		return errors.New("triggers: no subjects")
	}
	for _, s := range subjects {
		if !covers(b.names.Triggers(), s) {
			return fmt.Errorf("trigger subject %q: want one under %s", s, b.names.Triggers())
		}
	}
	if maxAge <= 0 {
		return fmt.Errorf("greatest age of a trigger %s: want more than 0", maxAge)
	}
	return nil
}

func (b *Bus) readTrigger(m jetstream.Msg, at time.Time, maxAge time.Duration) (messages.TriggerTarget, messages.Trigger, string, error) {
	now := time.Now()
	// Age first: what is stale is not worth a complaint about its form.
	if age := now.Sub(at); age > maxAge {
		return messages.TriggerTarget{}, messages.Trigger{}, "", fmt.Errorf(
			"%w: it was sent %s ago, the limit is %s (send it again if it is still wanted)", ErrStale, age.Round(time.Second), maxAge)
	}
	target, err := b.names.ParseTrigger(m.Subject())
	if err != nil {
		return target, messages.Trigger{}, "", fmt.Errorf("%w: %w", messages.ErrBadDocument, err)
	}
	if err := reflected(m.Headers()); err != nil {
		return target, messages.Trigger{}, "", err
	}
	doc, signature, err := b.cfg.Operators.Open(m.Subject(), m.Data())
	if err != nil {
		return target, messages.Trigger{}, "", err
	}
	t, err := messages.DecodeTrigger(doc)
	if err == nil {
		err = b.bounded(&t, now, maxAge)
	}
	if err == nil && !t.ExpiresAt.IsZero() && now.After(t.ExpiresAt) {
		err = fmt.Errorf("%w: it expired at %s", ErrStale, t.ExpiresAt.Format(time.RFC3339))
	}
	t.Signature = signature
	return target, t, signature, err
}
