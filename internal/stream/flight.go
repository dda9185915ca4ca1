package stream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/pgresync/pgresync/messages"
)

// flight bounds what one upload has published and the server has not acknowledged,
// in bytes, all parts that are under way together.
type flight struct {
	bytes int
	room  *semaphore.Weighted
	// heard counts acknowledgements: those of one part come after those of the part
	// before it, which is not silence.
	heard atomic.Uint64
}

func newFlight(bytes int) *flight {
	return &flight{bytes: bytes, room: semaphore.NewWeighted(int64(bytes))}
}

// cost: one chunk may always be in flight, whatever its size.
func (f *flight) cost(n int) int64 { return int64(min(n, f.bytes)) }

func (f *flight) landed(n int) { f.room.Release(f.cost(n)) }

// ackQueue checks that acknowledgements come from one stream, in rising order,
// and that the server took none of the chunks for a duplicate.
type ackQueue struct {
	stream  string
	flight  *flight
	pending []sentChunk
	last    uint64
}

type sentChunk struct {
	jetstream.PubAckFuture
	size int
}

// room waits until a chunk of n bytes may be published; its caller has to see to
// it that it lands.
func (q *ackQueue) room(ctx context.Context, n int) error {
	for len(q.pending) > 0 {
		if q.flight.room.TryAcquire(q.flight.cost(n)) {
			return nil
		}
		if err := q.next(ctx); err != nil {
			return err
		}
	}
	if err := q.flight.room.Acquire(ctx, q.flight.cost(n)); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (q *ackQueue) next(ctx context.Context) error {
	f := q.pending[0]
	q.pending = q.pending[1:]
	defer q.flight.landed(f.size)
	timer := time.NewTimer(silenceTime)
	defer timer.Stop()
	for {
		heard := q.flight.heard.Load()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if q.flight.heard.Load() == heard {
				return fmt.Errorf("%w: no chunk was acknowledged for %s", messages.ErrUnavailable, silenceTime)
			}
			timer.Reset(silenceTime)
		case err := <-f.Err():
			return err
		case ack := <-f.Ok():
			q.flight.heard.Add(1)
			return q.check(ack)
		}
	}
}

func (q *ackQueue) check(ack *jetstream.PubAck) error {
	if ack.Stream != q.stream || ack.Duplicate || ack.Sequence <= q.last {
		return fmt.Errorf("chunk was acknowledged by stream %s with sequence %d after %d (duplicate: %t)",
			ack.Stream, ack.Sequence, q.last, ack.Duplicate)
	}
	q.last = ack.Sequence
	return nil
}

// drain waits for the server's answers to all that is in flight, so that a purge
// afterwards finds what it stored. Not for long: a leader that stepped down never
// answers, and what is stored later a later purge finds.
func (q *ackQueue) drain(ctx context.Context) {
	defer func() {
		for _, f := range q.pending {
			q.flight.landed(f.size)
		}
		q.pending = nil
	}()
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	for _, f := range q.pending {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-f.Ok():
		case <-f.Err(): //nolint:errcheck // only its arrival matters
		}
	}
}
