package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Reader reads streams. It is safe for concurrent use; each Read holds three
// parts in memory.
type Reader struct {
	cfg    Config
	js     jetstream.JetStream
	ns     messages.Subjects
	limit  *limiter // shared by all reads
	totals totals
}

// NewReader checks cfg; it does not talk to the server. js must be on a
// connection made with ConnectOptions. Only Cluster, RateLimit, StallTimeout and
// CutTimeout of cfg matter to a reader.
func NewReader(js jetstream.JetStream, cfg Config) (*Reader, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Reader{cfg: cfg, js: js, ns: cfg.subjects(), limit: newLimiter(cfg.RateLimit, cfg.ChunkSize)}, nil
}

// Stats describe one finished Read.
type Stats struct {
	Parts int
	// Bytes is what the sink was given.
	Bytes uint64
	// Refetches counts parts that were fetched more than once, each time.
	Refetches int
}

// Read hands the stream of rec, which Hub.Join returned for node, to sink. The
// reader that sink gets delivers verified bytes only, and io.EOF only when the
// stream is complete; it is not to be used after sink returned. It is an io.Closer:
// Close, at any time, ends a Read that blocks, and a part that is not consumed by then
// never is.
//
// Read returns nil only if the stream was complete and sink read all of it and
// returned nil. Otherwise the error wraps messages.ErrStreamCut when the stream
// ended early (its writer gave up or is gone, we were detached, a part is bad
// for good: ErrBadPart), and sink's error when it has one. The reader is
// detached then. What sink did with the bytes it got may be resumable.
//
// progress, if not nil, is called from sink's reads with the number of bytes
// that sink has consumed.
func (r *Reader) Read(ctx context.Context, rec messages.StreamRecord, node messages.NodeName,
	progress func(bytes uint64), sink func(ctx context.Context, verified io.Reader) error,
) (Stats, error) {
	if rec.Cluster != r.cfg.Cluster {
		return Stats{}, fmt.Errorf("read stream %s: it is of cluster %s, not %s", rec.Stream, rec.Cluster, r.cfg.Cluster)
	}
	if err := rec.Validate(); err != nil {
		return Stats{}, fmt.Errorf("read stream %s: %w", rec.Stream, err)
	}
	if rec.Consumer == "" || !slices.Contains(rec.Readers, node) {
		return Stats{}, fmt.Errorf("read stream %s: its record is not the answer to a request of node %s", rec.Stream, node)
	}
	s := newSession(r, rec, progress)
	err := s.run(ctx, sink)
	if err != nil {
		s.leave(ctx)
		err = fmt.Errorf("read stream %s: %w", rec.Stream, err)
	}
	return s.stats(), err
}

// session is one Read.
type session struct {
	r        *Reader
	rec      messages.StreamRecord
	fetch    *fetcher
	acks     *acks
	progress func(uint64)
	sequence sequence

	free  chan []byte
	ready chan block
	// end is what closed ready: io.EOF after a valid end, else the reason.
	end    error
	endMsg jetstream.Msg

	refetches atomic.Int64
	out       output
}

// block is one verified part.
type block struct {
	index int
	data  []byte
}

func newSession(r *Reader, rec messages.StreamRecord, progress func(uint64)) *session {
	s := &session{
		r: r, rec: rec, progress: progress,
		fetch:    newFetcher(r.js, r.ns, r.limit),
		sequence: sequence{rec: rec},
		free:     make(chan []byte, buffers),
		ready:    make(chan block),
	}
	for range buffers {
		s.free <- nil
	}
	s.acks = newAcks(func() { _ = r.js.Conn().Publish(s.hintSubject(), nil) })
	s.out.s, s.out.closed = s, make(chan struct{})
	return s
}

func (s *session) hintSubject() string { return s.r.ns.Consumed(s.rec.Stream, s.rec.Attempt) }

func (s *session) stats() Stats {
	return Stats{Parts: s.out.parts, Bytes: s.out.bytes, Refetches: int(s.refetches.Load())}
}

// run fetches ahead while sink consumes.
func (s *session) run(parent context.Context, sink func(context.Context, io.Reader) error) error {
	ctx, stop := context.WithCancel(parent)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(s.fetch.used)
		defer close(s.ready)
		s.end = s.follow(ctx)
	})
	wg.Go(func() { s.fetch.release(ctx) })
	wg.Go(func() { s.acks.run(ctx) })
	s.out.done = ctx.Done()
	err := sink(ctx, &s.out)
	stop()
	wg.Wait()
	return s.outcome(parent, err)
}

// outcome decides what came of it. The stream's own error goes first: it is
// why the sink failed, if both did.
func (s *session) outcome(ctx context.Context, sinkErr error) error {
	cut := s.out.err
	switch {
	case sinkErr == nil && errors.Is(cut, io.EOF):
		s.confirm(ctx)
		return nil
	case errors.Is(cut, io.EOF):
		return sinkErr
	case cut == nil && sinkErr == nil:
		return errUnread
	case cut == nil:
		return sinkErr
	case sinkErr == nil || errors.Is(sinkErr, cut):
		return cut
	default:
		return fmt.Errorf("%w (%w)", cut, sinkErr)
	}
}

var errUnread = errors.New("the receiver returned before the stream's end")

// confirm acknowledges what is left and the end. The stream is safe whether or
// not that arrives: the writer only learns it later.
func (s *session) confirm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if s.acks.flush(ctx) && doubleAck(ctx, s.endMsg) == nil {
		s.acks.hint()
	}
}

// leave removes our consumer, so that the writer and the other readers need
// not wait for us. Without it the writer's grace would have to pass.
func (s *session) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if s.r.js.DeleteConsumer(ctx, s.r.ns.PartsStream(), s.rec.Consumer) == nil {
		s.acks.hint()
	}
}

// output is the io.ReadCloser that the sink gets.
type output struct {
	s     *session
	done  <-chan struct{}
	block *block
	rest  []byte
	parts int
	bytes uint64
	err   error

	closed chan struct{}
	once   sync.Once
}

// Close ends Reads, the one that blocks too: zfs recv is dead, and its reason is the
// one that counts.
func (o *output) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

func (o *output) isClosed() bool {
	select {
	case <-o.closed:
		return true
	default:
		return false
	}
}

// Read returns verified bytes. The sink has consumed a part when it asks for
// what comes after it.
func (o *output) Read(p []byte) (int, error) {
	for len(o.rest) == 0 && !o.isClosed() {
		if o.err != nil {
			return 0, o.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		o.advance()
	}
	if o.isClosed() {
		return 0, io.ErrClosedPipe
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

func (o *output) advance() {
	o.release()
	select {
	case <-o.closed:
	case <-o.done:
		o.err = context.Canceled
	case b, ok := <-o.s.ready:
		if !ok {
			o.err = o.s.end
			return
		}
		o.block, o.rest = &b, b.data
	}
}

// release gives a consumed part's buffer back and lets it be acknowledged.
func (o *output) release() {
	if o.block == nil {
		return
	}
	o.parts++
	o.bytes += uint64(len(o.block.data))
	o.s.acks.consumed(o.block.index)
	o.s.free <- o.block.data[:0]
	o.block = nil
	if o.s.progress != nil {
		o.s.progress(o.bytes)
	}
}
