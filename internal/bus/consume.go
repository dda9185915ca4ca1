package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

const (
	// ackWait is how soon a message is delivered again after its receiver died; a
	// handler that takes longer is kept alive by progress reports.
	ackWait = 15 * time.Second
	// ackBound ends the attempts to acknowledge before the redelivery.
	ackBound = 10 * time.Second
	// inactive is how long the server remembers the place of a node that is away.
	inactive = 30 * 24 * time.Hour
	// pullBatch is more than the one message that MaxAckPending lets through: with a
	// batch of 1, nats.go v1.55.0 forgets to ask for the next message when this one
	// is consumed before its pull goroutine has settled, and stalls for two
	// heartbeats (jetstream/pull.go checkPending, about once in 60 starts).
	pullBatch = 16
	// pullHeartbeat: two missing ones mean that the server forgot the request.
	pullHeartbeat = 5 * time.Second
	pullExpiry    = 30 * time.Second
	maxNakDelay   = 30 * time.Second
)

// outcome is what becomes of a message after its handler.
type outcome int

const (
	done   outcome = iota // acknowledged, never delivered again
	refuse                // terminated: delivering it again would not help
	retry                 // delivered again after a delay
)

// consumer is one durable reader of the event stream.
type consumer struct {
	durable  string
	subjects []string
	// start adds where a durable that is made new begins.
	start  func(cfg *jetstream.ConsumerConfig)
	handle func(ctx context.Context, m jetstream.Msg, md *jetstream.MsgMetadata) outcome
}

// place is how far a consumer got in this process. It outlives the durable: one
// that an operator deleted begins where the old one ended, and a message whose
// acknowledgement was lost in a restart of the server is not handled twice.
type place struct {
	created time.Time // of the stream
	seq     uint64
}

// consume runs until ctx is done and then returns nil. Whatever else happens is
// reported and tried again: a server that restarts, a durable or a stream that
// is gone.
func (b *Bus) consume(ctx context.Context, c *consumer) error {
	if err := checkDurable(c.durable); err != nil {
		return err
	}
	var at place
	report := newThrottle(b.cfg.OnAsyncError)
	wait := newBackoff(200*time.Millisecond, 5*time.Second)
	for ctx.Err() == nil {
		err := b.consumeWhileUp(ctx, c, &at, func() { wait.reset(); report.reset() })
		if ctx.Err() == nil {
			report.error(fmt.Errorf("consumer %s of stream %s: %w", c.durable, b.names.Stream(), classify(err)))
			_ = wait.sleep(ctx)
		}
	}
	return nil
}

func (b *Bus) consumeWhileUp(ctx context.Context, c *consumer, at *place, healthy func()) error {
	cons, err := b.ensureConsumer(ctx, c, at)
	if err != nil {
		return err
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(pullBatch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		healthy()
		if err := b.deliver(ctx, c, at, m); err != nil {
			return err
		}
	}
}

func (b *Bus) deliver(ctx context.Context, c *consumer, at *place, m jetstream.Msg) error {
	md, err := m.Metadata()
	if err != nil {
		return err
	}
	result := done
	if at.seq != md.Sequence.Stream {
		result = keepAlive(ctx, m, func() outcome { return c.handle(ctx, m, md) })
	}
	switch result {
	case done:
		at.seq = md.Sequence.Stream
		return b.acknowledge(ctx, m)
	case refuse:
		return m.Term()
	case retry:
	}
	if ctx.Err() != nil {
		return m.Nak() // at once: the next process is about to start
	}
	return m.NakWithDelay(min(time.Second<<min(md.NumDelivered, 10), maxNakDelay))
}

// acknowledge waits for the server's confirmation, over a short restart of the
// server too. Without one the message comes again after ackWait and is
// recognised by its sequence.
func (b *Bus) acknowledge(ctx context.Context, m jetstream.Msg) error {
	err := b.retry(ctx, ackBound, m.DoubleAck)
	if err != nil && ctx.Err() != nil {
		// Shutting down is no reason to have a trigger obeyed twice.
		err = b.call(context.WithoutCancel(ctx), m.DoubleAck)
	}
	return err
}

// keepAlive tells the server that the message is being worked on.
func keepAlive(ctx context.Context, m jetstream.Msg, work func() outcome) outcome {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(ackWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = m.InProgress() // at worst the message is delivered again
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	return work()
}

func (b *Bus) ensureConsumer(ctx context.Context, c *consumer, at *place) (cons jetstream.Consumer, err error) {
	err = b.try(ctx, func(ctx context.Context) error {
		stream, err := b.js.Stream(ctx, b.names.Stream())
		if err != nil {
			return err
		}
		if created := stream.CachedInfo().Created; !created.Equal(at.created) {
			*at = place{created: created} // another stream counts from 1 again
		}
		cons, err = stream.Consumer(ctx, c.durable)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			cons, err = b.createConsumer(ctx, stream, c, at.seq)
		case err == nil && !consumerFits(cons.CachedInfo().Config, c):
			cons, err = alterConsumer(ctx, stream, c, cons.CachedInfo().Config)
		}
		return err
	})
	return cons, err
}

// createConsumer makes the durable; after is the last message handled, if any.
func (b *Bus) createConsumer(ctx context.Context, stream jetstream.Stream, c *consumer, after uint64) (jetstream.Consumer, error) {
	cfg := jetstream.ConsumerConfig{
		Durable:           c.durable,
		Description:       fmt.Sprintf("pgresync-%s %s", b.cfg.Sidecar, b.cfg.Node),
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           ackWait,
		MaxAckPending:     1,
		MaxDeliver:        -1,
		InactiveThreshold: inactive,
	}
	c.start(&cfg)
	if after > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartSequencePolicy, after+1, nil
	}
	cfg.FilterSubject = commonFilter(c.subjects)
	return stream.CreateConsumer(ctx, cfg)
}

func alterConsumer(ctx context.Context, stream jetstream.Stream, c *consumer, have jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	have.MaxAckPending, have.AckWait = 1, ackWait
	have.FilterSubject, have.FilterSubjects = commonFilter(c.subjects), nil
	return stream.UpdateConsumer(ctx, have)
}

// commonFilter is one filter that covers all subjects; handlers look at the
// subject again. One, because only then the subject
// of the request to create the consumer contains it, so that permissions can
// hold a node to it; and a server before 2.10 knows no more than one.
func commonFilter(subjects []string) string {
	common := strings.Split(subjects[0], ".")
	for _, s := range subjects[1:] {
		tokens := strings.Split(s, ".")
		for i := range min(len(common), len(tokens)) {
			if common[i] != tokens[i] {
				common[i] = "*"
			}
		}
		if n := min(len(common), len(tokens)); n < max(len(common), len(tokens)) {
			common = append(common[:n-1], ">")
		}
	}
	return strings.Join(common, ".")
}

// matchesAny reports whether the subject is one that the consumer asked for.
func (c *consumer) matchesAny(subject string) bool {
	return slices.ContainsFunc(c.subjects, func(s string) bool { return covers(s, subject) })
}

func checkDurable(name string) error {
	if _, err := messages.ParseNodeName(name); err != nil {
		return fmt.Errorf("consumer name: %w", err)
	}
	return nil
}

// consumerFits reports whether an existing durable delivers what c wants, one at
// a time. One that an operator made wider is left alone.
func consumerFits(have jetstream.ConsumerConfig, c *consumer) bool {
	filters := have.FilterSubjects
	if have.FilterSubject != "" {
		filters = []string{have.FilterSubject}
	}
	for _, want := range c.subjects {
		if len(filters) > 0 && !slices.ContainsFunc(filters, func(f string) bool { return covers(f, want) }) {
			return false
		}
	}
	return have.MaxAckPending == 1
}
