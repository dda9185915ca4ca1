package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// putChunksCarefully publishes one chunk after the other, each with the sequence
// that its predecessor must have. It is for a part that could not be stored in one
// go: the server itself refuses chunks that come twice or out of order, so it is
// safe to go on in the middle after a leader change, and leaders that change
// faster than a part is stored do not hold it up for ever.
func (s *Store) putChunksCarefully(ctx context.Context, subject string, data []byte, size int) (int, error) {
	c := carefully{store: s, subject: subject}
	for len(data) > 0 {
		n := min(size, len(data))
		if err := s.limit.wait(ctx, n); err != nil {
			return 0, err
		}
		if err := c.put(ctx, data[:n]); err != nil {
			return 0, err
		}
		data = data[n:]
	}
	return c.chunks, nil
}

type carefully struct {
	store   *Store
	subject string
	chunks  int
	last    uint64 // sequence of the last one
}

// put repeats one chunk until it is known to be stored, within a bound.
func (c *carefully) put(ctx context.Context, chunk []byte) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	var b backoff
	for silence := firstSilence; ; silence = min(2*silence, callTimeout) {
		seq, err := c.publish(ctx, chunk, silence)
		if err != nil && !hasCode(err, codeMaximumBytes, codeInsufficientResources) {
			seq, err = c.stored(ctx, err)
		}
		switch {
		case err == nil:
			c.last, c.chunks = seq, c.chunks+1
			return nil
		case !errors.Is(err, messages.ErrUnavailable) || !b.wait(ctx):
			return err
		}
	}
}

func (c *carefully) publish(ctx context.Context, chunk []byte, silence time.Duration) (uint64, error) {
	msg := nats.NewMsg(c.subject)
	msg.Header.Set(chunkNumber, strconv.Itoa(c.chunks))
	msg.Data = chunk
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	ack, err := c.store.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0),
		jetstream.WithExpectStream(c.store.bucketStream()), jetstream.WithExpectLastSequencePerSubject(c.last))
	if err != nil {
		return 0, fmt.Errorf("chunk %d: %w", c.chunks, err)
	}
	return ack.Sequence, nil
}

// chunkNumber is the header in which a chunk that was stored carefully says which
// one it is.
const chunkNumber = "Pgresync-Chunk"

// stored looks whether a chunk whose acknowledgement did not come is there after
// all. An error that wraps messages.ErrUnavailable says that it is not, or that
// nobody knows; another one, that the part has to begin again.
func (c *carefully) stored(ctx context.Context, cause error) (uint64, error) {
	unavailable := fmt.Errorf("%w: %w", messages.ErrUnavailable, cause)
	h, err := c.store.stream(ctx, c.store.bucketStream())
	if err != nil {
		return 0, unavailable
	}
	ctx, cancel := context.WithTimeout(ctx, silenceTime)
	defer cancel()
	msg, err := h.GetLastMsgForSubject(ctx, c.subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && c.chunks == 0, err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, unavailable
	case err != nil:
		return 0, fmt.Errorf("the %d chunks before are gone: %w", c.chunks, cause)
	case msg.Sequence == c.last:
		return 0, unavailable
	case msg.Sequence > c.last && strings.TrimSpace(msg.Header.Get(chunkNumber)) == strconv.Itoa(c.chunks):
		return msg.Sequence, nil
	case msg.Sequence < c.last:
		return 0, unavailable // a replica that lags behind answered
	default:
		return 0, fmt.Errorf("chunk %q with sequence %d is stored where %d is due after sequence %d: %w",
			msg.Header.Get(chunkNumber), msg.Sequence, c.chunks, c.last, cause)
	}
}
