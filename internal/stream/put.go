package stream

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chunkSize is the configured one, cut to the server's limit.
func (s *Store) chunkSize() int {
	if limit := int(s.conn.MaxPayload()) - payloadRoom; limit > 0 && limit < s.cfg.ChunkSize {
		return limit
	}
	return s.cfg.ChunkSize
}

// parcel is one part on its way into the bucket.
type parcel struct {
	object, nuid string
	data         []byte
	sum          [sha256.Size]byte
	flight       *flight
	careful      bool
	sent         func() // called when all chunks were published
}

// put stores one object under a fresh nuid, once. After an error nothing of it
// counts: the caller purges (discard) and stores all of it again under another
// nuid. Continuing within an object whose chunks are many in flight is what
// corrupts it (chunks lost, repeated or out of order after a leader change).
func (s *Store) put(ctx context.Context, p parcel) (chunks int, err error) {
	size := s.chunkSize()
	subject := s.chunkSubject(p.nuid)
	if p.careful {
		chunks, err = s.putChunksCarefully(ctx, subject, p.data, size)
	} else {
		chunks, err = s.putChunks(ctx, subject, p, size)
	}
	if err != nil {
		return 0, fmt.Errorf("store the chunks of %s: %w", p.object, err)
	}
	p.sent()
	if err := s.expectCount(ctx, subject, chunks); err != nil {
		return 0, fmt.Errorf("store %s: %w", p.object, err)
	}
	info := objectInfo(s.ns.Bucket(), p.object, p.nuid, uint64(len(p.data)), chunks, size, p.sum)
	if err := s.putMeta(ctx, info); err != nil {
		return 0, fmt.Errorf("store the description of %s: %w", p.object, err)
	}
	return chunks, nil
}

// putChunks publishes data with a bounded number of bytes in flight and checks
// every acknowledgement.
func (s *Store) putChunks(ctx context.Context, subject string, p parcel, size int) (chunks int, err error) {
	acks := ackQueue{stream: s.bucketStream(), flight: p.flight}
	defer func() {
		if err != nil {
			acks.drain(ctx)
		}
	}()
	for data := p.data; len(data) > 0; chunks++ {
		n := min(size, len(data))
		if err := acks.room(ctx, n); err != nil {
			return 0, err
		}
		if err := s.publishChunk(ctx, &acks, subject, data[:n]); err != nil {
			p.flight.landed(n)
			return 0, err
		}
		data = data[n:]
	}
	p.sent()
	for len(acks.pending) > 0 {
		if err := acks.next(ctx); err != nil {
			return 0, err
		}
	}
	return chunks, nil
}

func (s *Store) publishChunk(ctx context.Context, acks *ackQueue, subject string, chunk []byte) error {
	if err := s.limit.wait(ctx, len(chunk)); err != nil {
		return err
	}
	// A message of its own for every chunk: the client keeps it until it is acknowledged.
	f, err := s.bulk.PublishMsgAsync(&nats.Msg{Subject: subject, Data: chunk}, jetstream.WithRetryAttempts(0))
	if err == nil {
		acks.pending = append(acks.pending, sentChunk{f, len(chunk)})
	}
	return err
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
