package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// attached is one reader of one upload.
type attached struct {
	consumer string
	consumed int  // parts acknowledged, from 0 without gaps
	ended    bool // the end was acknowledged too
	stalled  time.Duration
	silent   time.Duration // how long nobody answered what is asked about it
	hindered time.Duration // how long others have waited for it, see hinder
	missing  int           // polls in a row that found no consumer
}

// pin keeps the upload joinable until unpin; false when it is not joinable.
func (u *upload) pin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over || u.losses != u.store.losses.Load() || !u.ledger.joinable() {
		return false
	}
	u.pins++
	return true
}

// closedFor closes the upload to everybody when it is the attempt that was of no
// use to a reader.
func (u *upload) closedFor(not messages.MessageID) bool {
	if not == "" || u.attempt() != not {
		return false
	}
	u.update(func() { u.over = true })
	return true
}

func (u *upload) unpin() { u.update(func() { u.pins-- }) }

// attach gives node a fresh consumer that begins with part 0. The caller
// holds a pin. A node that was attached before has been restarted: what it had
// received is lost with its zfs recv.
func (u *upload) attach(ctx context.Context, node messages.NodeName) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	if old := u.consumerOf(node); old != "" {
		if err := u.store.js.DeleteConsumer(ctx, u.store.ns.PartsStream(), old); err != nil && !isGone(err) {
			return fmt.Errorf("reset the consumer of node %s: %w", node, err)
		}
	}
	name := newConsumerName(u.attempt(), node)
	_, err := u.store.js.CreateOrUpdateConsumer(ctx, u.store.ns.PartsStream(), jetstream.ConsumerConfig{
		Durable:           name,
		FilterSubject:     u.store.ns.StreamParts(u.spec.Stream, u.attempt()),
		DeliverPolicy:     jetstream.DeliverAllPolicy,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           ackWait,
		MaxAckPending:     8,
		MaxDeliver:        -1,
		InactiveThreshold: max(consumerIdle, 2*u.store.cfg.ReaderGrace),
	})
	if isLost(err) {
		// With the announcements all that was uploaded is gone. Who asks again gets an
		// upload of its own, for which they are made again.
		u.update(func() { u.over = true })
		err = fmt.Errorf("%w: %w", messages.ErrUnavailable, err)
	}
	if err != nil {
		return fmt.Errorf("create a consumer for node %s: %w", node, err)
	}
	u.update(func() { u.readers[node] = &attached{consumer: name} })
	u.report(true)
	return nil
}

// detach forgets a reader and removes its consumer, unless it has been attached again
// meanwhile, with another one.
func (u *upload) detach(ctx context.Context, node messages.NodeName, name string) {
	found := false
	u.update(func() {
		if r := u.readers[node]; r != nil && r.consumer == name {
			delete(u.readers, node)
			found = true
		}
	})
	if !found {
		return
	}
	u.nudge()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// What cannot be deleted now is removed with the upload, by the next sweep, or by
	// the server when it was idle for long.
	_ = u.store.js.DeleteConsumer(ctx, u.store.ns.PartsStream(), name)
	u.report(true)
}

// nudge makes the minder look at once.
func (u *upload) nudge() {
	select {
	case u.nudged <- struct{}{}:
	default:
	}
}

// consumerOf is "" when node is not attached.
func (u *upload) consumerOf(node messages.NodeName) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if r := u.readers[node]; r != nil {
		return r.consumer
	}
	return ""
}

// consumed is the number of parts that all readers have; the caller holds mu.
// A join under way counts as a reader that has none, and where nobody reads nothing
// is consumed: such an upload ends, and is not to send more before it does.
func (u *upload) consumed() int {
	if u.pins > 0 || len(u.readers) == 0 {
		return 0
	}
	least := u.ledger.next
	for _, r := range u.readers {
		least = min(least, r.consumed)
	}
	return least
}

// mind follows the readers until ctx is done, and calls abort when none is
// left before the end.
func (u *upload) mind(ctx context.Context, abort context.CancelCauseFunc) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	polled := time.Now()
	var still standstill
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-u.nudged:
		}
		elapsed := time.Since(polled)
		polled = time.Now()
		answered := u.look(ctx, elapsed)
		if u.deserted() {
			abort(errNoReader)
		}
		if err := u.stuck(&still, elapsed, answered); err != nil {
			abort(err)
		}
		u.keepAlive()
	}
}

// look polls every reader, and detaches those who hold up others. It tells whether
// JetStream answers, as far as it was asked.
func (u *upload) look(ctx context.Context, elapsed time.Duration) (answered bool) {
	u.mu.Lock()
	nodes := slices.Sorted(maps.Keys(u.readers))
	u.mu.Unlock()
	answered = len(nodes) == 0
	for _, node := range nodes {
		answered = u.poll(ctx, node, elapsed) || answered
	}
	u.mu.Lock()
	slow := map[messages.NodeName]string{}
	for _, node := range u.hinder(counting(elapsed)) {
		slow[node] = u.readers[node].consumer
	}
	u.mu.Unlock()
	for node, name := range slow {
		u.detach(ctx, node, name)
	}
	return answered
}

// counting: a time without a server is no reader's fault, one interval is the most that
// counts as its waiting.
func counting(elapsed time.Duration) time.Duration { return min(elapsed, 2*pollInterval) }

// deserted is true when nobody reads a running upload; nobody can join it then.
func (u *upload) deserted() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rec.State != messages.StreamRunning || len(u.readers) > 0 || u.pins > 0 {
		return false
	}
	u.over = true
	return true
}

func (u *upload) poll(ctx context.Context, node messages.NodeName, elapsed time.Duration) (answered bool) {
	name := u.consumerOf(node)
	if name == "" {
		return true // nothing is asked
	}
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cons, err := u.store.js.Consumer(asking, u.store.ns.PartsStream(), name)
	answered = err == nil || isGone(err)
	u.mu.Lock()
	r := u.readers[node]
	drop := false
	switch {
	case r == nil || r.consumer != name || r.ended:
	case !answered:
		drop = u.silence(r, elapsed)
	case err != nil:
		// A server that is starting up may not know its consumers yet.
		r.missing++
		drop = r.missing >= goneThreshold
	default:
		drop = u.observe(r, cons.CachedInfo().AckFloor.Stream, counting(elapsed))
	}
	u.mu.Unlock()
	if drop {
		u.detach(ctx, node, name)
	}
	return answered
}

// silence tells whether an upload that has ended has waited for long enough to hear
// that r took its end: the watchdog, which bounds the wait of a running one, is done.
// The caller holds mu.
func (u *upload) silence(r *attached, elapsed time.Duration) (drop bool) {
	r.silent += elapsed
	return u.rec.State != messages.StreamRunning && r.silent > u.store.cfg.CutTimeout
}

// observe takes over a consumer's floor, and tells whether its reader has
// stood still for too long; the caller holds mu.
func (u *upload) observe(r *attached, floor uint64, elapsed time.Duration) (drop bool) {
	r.missing, r.silent = 0, 0
	consumed := max(r.consumed, u.ledger.consumedBy(floor))
	ended := u.endSeq != 0 && floor >= u.endSeq
	idle := r.consumed == u.ledger.next && u.endSeq == 0 // it waits for us
	if consumed > r.consumed || ended || idle {
		moved := consumed > r.consumed || ended
		r.consumed, r.ended, r.stalled = consumed, ended, 0
		if moved {
			u.broadcast()
		}
		return false
	}
	r.stalled += elapsed
	return r.stalled > u.store.cfg.ReaderGrace
}

func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDoesNotExist) ||
		errors.Is(err, jetstream.ErrStreamNotFound)
}

// answer listens for the readers' hints; a hint that asks for a reply wants to
// know whether this upload lives.
func (u *upload) answer() (unsubscribe func()) {
	sub, err := u.store.conn.Subscribe(u.store.ns.Consumed(u.spec.Stream, u.attempt()), func(m *nats.Msg) {
		u.nudge()
		if !u.store.ns.MayReply(m.Reply) {
			return
		}
		rec := u.record()
		if body, err := messages.Encode(&rec); err == nil {
			_ = m.Respond(body)
		}
	})
	if err != nil { // the connection was closed; polling goes nowhere either
		return func() {}
	}
	return func() { _ = sub.Unsubscribe() }
}
