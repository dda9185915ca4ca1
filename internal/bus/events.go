package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// publishBound ends the retries of one publication well within dedupeWindow.
const publishBound = 30 * time.Second

// Publish stores an event, trying again until the server confirms it, ctx is
// done, or half a minute has passed (ErrUnavailable). Its id is the Nats-Msg-Id,
// so that a repetition is stored once.
func (b *Bus) Publish(ctx context.Context, e messages.Event) error {
	subject := b.names.Event(e.Type, e.Node)
	if e.Cluster != b.cfg.Cluster {
		return fmt.Errorf("publish %s: %w: it is for cluster %q, this bus is for %q", subject, messages.ErrBadDocument, e.Cluster, b.cfg.Cluster)
	}
	body, err := b.seal(subject, &e)
	if err != nil {
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	err = b.retry(ctx, publishBound, func(ctx context.Context) error {
		m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{"Content-Type": {"application/json"}}}
		_, err := b.js.PublishMsg(ctx, m,
			jetstream.WithMsgID(string(e.ID)),
			jetstream.WithExpectStream(b.names.Stream()),
			jetstream.WithRetryAttempts(0))
		return err
	})
	if err != nil {
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	return nil
}

// Events hands the events on the subjects that match filter to handle, one at a
// time and in order, until ctx is done; then it returns nil. The server keeps
// the place under the name durable: after an absence every event that is still
// stored comes; a name it has not seen begins with the last event of each
// subject. An event whose handle returns an error comes again after a growing
// delay, and none passes it; one that was handled can come again after a crash.
// Documents that do not decode are dropped and reported (OnAsyncError).
func (b *Bus) Events(ctx context.Context, filter, durable string, handle func(context.Context, messages.Event) error) error {
	if !covers(b.names.Events(), filter) {
		return fmt.Errorf("events filter %q: want a subject under %s", filter, b.names.Events())
	}
	c := &consumer{durable: durable, subjects: []string{filter}}
	c.start = func(cfg *jetstream.ConsumerConfig) { cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy }
	c.handle = func(ctx context.Context, m jetstream.Msg, md *jetstream.MsgMetadata) outcome {
		var e messages.Event
		if err := b.decodeEvent(m.Subject(), m.Data(), &e); err != nil {
			b.cfg.OnAsyncError(fmt.Errorf("event %d on %s dropped: %w", md.Sequence.Stream, m.Subject(), err))
			return refuse
		}
		return b.settle(ctx, m, handle(ctx, e))
	}
	return b.consume(ctx, c)
}

// decodeEvent also holds the subject against the document: server permissions
// guard subjects, so that a document must not claim another sender.
func (b *Bus) decodeEvent(subject string, body []byte, e *messages.Event) error {
	if err := messages.Decode(body, e); err != nil {
		return err
	}
	// A manifest is acted upon; the rest is news.
	if e.Type == messages.EventSnapshotReady {
		if _, _, err := b.cfg.Publishers.Open(subject, body); err != nil {
			return err
		}
	}
	if want := b.names.Event(e.Type, e.Node); e.Cluster != b.cfg.Cluster || subject != want {
		return fmt.Errorf("%w: it says cluster %q, node %q and type %q, which does not belong on this subject",
			messages.ErrBadDocument, e.Cluster, e.Node, e.Type)
	}
	return nil
}

// settle turns a handler's result into an outcome.
func (b *Bus) settle(ctx context.Context, m jetstream.Msg, err error) outcome {
	if err == nil {
		return done
	}
	if ctx.Err() == nil {
		b.cfg.OnAsyncError(fmt.Errorf("message on %s will be delivered again: %w", m.Subject(), err))
	}
	return retry
}
