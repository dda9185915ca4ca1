package stream

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// chunkSize is the configured one, cut to the server's limit.
func (s *Store) chunkSize() int {
	if limit := int(s.conn.MaxPayload()) - payloadRoom; limit > 0 && limit < s.cfg.ChunkSize {
		return limit
	}
	return s.cfg.ChunkSize
}

// put stores one object under a fresh nuid, once. After an error nothing of it
// counts: the caller purges (discard) and stores all of it again under another
// nuid. Continuing within an object whose chunks are many in flight is what
// corrupts it (chunks lost, repeated or out of order after a leader change).
func (s *Store) put(ctx context.Context, object, nuid string, data []byte, sum [sha256.Size]byte, careful bool) (chunks int, err error) {
	size := s.chunkSize()
	if careful {
		chunks, err = s.putChunksCarefully(ctx, s.chunkSubject(nuid), data, size)
	} else {
		chunks, err = s.putChunks(ctx, s.chunkSubject(nuid), data, size)
	}
	if err != nil {
		return 0, fmt.Errorf("store the chunks of %s: %w", object, err)
	}
	if err := s.expectCount(ctx, s.chunkSubject(nuid), chunks); err != nil {
		return 0, fmt.Errorf("store %s: %w", object, err)
	}
	info := objectInfo(s.ns.Bucket(), object, nuid, uint64(len(data)), chunks, size, sum)
	if err := s.putMeta(ctx, info); err != nil {
		return 0, fmt.Errorf("store the description of %s: %w", object, err)
	}
	return chunks, nil
}

// putChunks publishes data with a bounded number of bytes in flight and checks
// every acknowledgement.
func (s *Store) putChunks(ctx context.Context, subject string, data []byte, size int) (int, error) {
	acks := ackQueue{stream: s.bucketStream()}
	limit := max(1, s.cfg.InFlight/size)
	chunks := 0
	for len(data) > 0 {
		n := min(size, len(data))
		if len(acks.pending) >= limit {
			if err := acks.next(ctx); err != nil {
				return 0, acks.drain(ctx, err)
			}
		}
		if err := s.limit.wait(ctx, n); err != nil {
			return 0, acks.drain(ctx, err)
		}
		// A message of its own for every chunk: the client keeps it until it is acknowledged.
		f, err := s.bulk.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data[:n]}, jetstream.WithRetryAttempts(0))
		if err != nil {
			return 0, acks.drain(ctx, err)
		}
		acks.pending = append(acks.pending, f)
		data = data[n:]
		chunks++
	}
	for len(acks.pending) > 0 {
		if err := acks.next(ctx); err != nil {
			return 0, acks.drain(ctx, err)
		}
	}
	return chunks, nil
}

// ackQueue checks that acknowledgements come from one stream, in rising order,
// and that the server took none of the chunks for a duplicate.
type ackQueue struct {
	stream  string
	pending []jetstream.PubAckFuture
	last    uint64
}

func (q *ackQueue) next(ctx context.Context) error {
	f := q.pending[0]
	q.pending = q.pending[1:]
	timer := time.NewTimer(silenceTime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return fmt.Errorf("%w: no chunk was acknowledged for %s", messages.ErrUnavailable, silenceTime)
	case err := <-f.Err():
		return err
	case ack := <-f.Ok():
		if ack.Stream != q.stream || ack.Duplicate || ack.Sequence <= q.last {
			return fmt.Errorf("chunk was acknowledged by stream %s with sequence %d after %d (duplicate: %t)",
				ack.Stream, ack.Sequence, q.last, ack.Duplicate)
		}
		q.last = ack.Sequence
		return nil
	}
}

// drain waits for the server's answers to all that is in flight, so that a purge
// afterwards finds what it stored. Not for long: a leader that stepped down never
// answers, and what is stored later a later purge finds.
func (q *ackQueue) drain(ctx context.Context, cause error) error {
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	for _, f := range q.pending {
		select {
		case <-ctx.Done():
			return cause
		case <-timer.C:
			return cause
		case <-f.Ok():
		case <-f.Err(): //nolint:errcheck // only its arrival matters
		}
	}
	return cause
}

func (s *Store) expectCount(ctx context.Context, subject string, want int) error {
	counts, err := s.counts(ctx, s.bucketStream(), subject)
	if err != nil {
		return err
	}
	if got := counts[subject]; got != uint64(want) {
		return fmt.Errorf("stream %s holds %d chunks of %d", s.bucketStream(), got, want)
	}
	return nil
}

func (s *Store) putMeta(ctx context.Context, info jetstream.ObjectInfo) error {
	body, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	msg := nats.NewMsg(s.metaSubject(info.Name))
	msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	msg.Data = body
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = s.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(s.bucketStream()))
	return err
}

// discard removes an object, complete or not; without a name, chunks only. The
// description goes first, so that nobody lists an object without chunks.
func (s *Store) discard(ctx context.Context, object, nuid string) error {
	var err error
	if object != "" {
		err = s.purge(ctx, s.bucketStream(), s.metaSubject(object))
	}
	return errors.Join(err, s.purge(ctx, s.bucketStream(), s.chunkSubject(nuid)))
}
