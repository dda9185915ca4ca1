package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Store is the bucket of parts and the stream of their announcements. It is
// safe for concurrent use.
type Store struct {
	cfg  Config
	js   jetstream.JetStream
	conn *nats.Conn
	// bulk publishes chunks: a context of its own, whose acknowledgements time out.
	bulk jetstream.JetStream
	ns   messages.Subjects
	// limit is shared by all uploads.
	limit  *limiter
	totals totals
	// losses is how often bucket or announcements were found to be made anew: what was
	// stored before is gone.
	losses atomic.Uint64

	mu      sync.Mutex
	streams map[string]jetstream.Stream
	// created is of the stream of each name that was kept last. A handle's own word
	// changes with every look at what is there now.
	created map[string]time.Time
}

// NewStore checks cfg; it does not talk to the server. js must be on a
// connection made with ConnectOptions.
func NewStore(js jetstream.JetStream, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	bulk, err := bulkContext(js)
	if err != nil {
		return nil, err
	}
	return &Store{
		cfg: cfg, js: js, conn: js.Conn(), bulk: bulk, ns: cfg.subjects(), limit: newLimiter(cfg.RateLimit, cfg.ChunkSize),
		streams: map[string]jetstream.Stream{}, created: map[string]time.Time{},
	}, nil
}

func bulkContext(js jetstream.JetStream) (bulk jetstream.JetStream, err error) {
	timeout := jetstream.WithPublishAsyncTimeout(ackTimeout)
	switch o := js.Options(); {
	case o.Domain != "":
		bulk, err = jetstream.NewWithDomain(js.Conn(), o.Domain, timeout)
	case o.APIPrefix != "":
		bulk, err = jetstream.NewWithAPIPrefix(js.Conn(), o.APIPrefix, timeout)
	default:
		bulk, err = jetstream.New(js.Conn(), timeout)
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream context for parts: %w", err)
	}
	return bulk, nil
}

func (s *Store) bucketStream() string { return "OBJ_" + s.ns.Bucket() }

// stream is the handle of a stream, asked for once: a handle is but a name,
// and stays good when the server restarts.
func (s *Store) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.streams[name]; h != nil {
		return h, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	h, err := s.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up JetStream stream %s: %w", name, err)
	}
	s.streams[name] = h
	return h, nil
}

// purge removes what is stored on subject; without tombstones, which would
// stay for ever (nats.go#1243). Of a stream that is gone nothing is left to remove.
func (s *Store) purge(ctx context.Context, stream, subject string) error {
	h, err := s.stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := h.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("purge %s of stream %s: %w", subject, stream, err)
	}
	return nil
}

// counts lists the subjects that match filter with their number of messages.
func (s *Store) counts(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	h, err := s.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := h.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("count %s in stream %s: %w", filter, stream, err)
	}
	return info.State.Subjects, nil
}

// publish stores one small document and returns its sequence. A repetition
// after a lost acknowledgement is recognised by its subject, which is used only
// once: message ids are forgotten after the duplicate window.
func (s *Store) publish(ctx context.Context, subject, id string, doc messages.Document) (uint64, error) {
	body, err := messages.Encode(doc)
	if err == nil {
		body, err = s.cfg.Signer.Seal(subject, body)
	}
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ack, err := s.js.Publish(ctx, subject, body,
		jetstream.WithMsgID(id),
		jetstream.WithExpectStream(s.ns.PartsStream()),
		jetstream.WithExpectLastSequencePerSubject(0))
	switch {
	case err == nil:
		return ack.Sequence, nil
	case hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return s.stored(ctx, subject)
	default:
		return 0, fmt.Errorf("publish %s: %w", subject, err)
	}
}

// lost reports whether err means that the stream of announcements is not there.
// Without an answer it may only have no leader, for a moment.
func (s *Store) lost(ctx context.Context, err error) bool {
	if !isLost(err) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = s.js.Stream(ctx, s.ns.PartsStream())
	return errors.Is(err, jetstream.ErrStreamNotFound)
}

func (s *Store) stored(ctx context.Context, subject string) (uint64, error) {
	h, err := s.stream(ctx, s.ns.PartsStream())
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := h.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", subject, err)
	}
	return msg.Sequence, nil
}
