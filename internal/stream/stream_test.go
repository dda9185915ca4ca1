package stream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) {
	natstest.Roles(roles)
	goleak.VerifyTestMain(m)
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// world is one publisher on one server, and the connections of readers.
type world struct {
	t      testing.TB
	server *natstest.Server
	cfg    stream.Config
	ns     messages.Subjects
	js     jetstream.JetStream
	hub    *stream.Hub
	stop   func()

	mu      sync.Mutex
	records []messages.StreamRecord
}

func newWorld(t testing.TB, change func(*stream.Config)) *world {
	t.Helper()
	return startWorld(t, natstest.Run(t), change)
}

func startWorld(t testing.TB, server *natstest.Server, change func(*stream.Config)) *world {
	t.Helper()
	cfg := stream.Config{
		Cluster: "main", PartSize: 64 * kib, ChunkSize: 8 * kib, Window: 256 * kib, MaxUploads: 4,
		Provision: true, Linger: time.Minute, StallTimeout: 20 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	w := &world{t: t, server: server, cfg: cfg, ns: messages.Subjects{Cluster: cfg.Cluster}}
	w.js = server.JetStream(t, stream.ConnectOptions()...)
	w.start()
	return w
}

// start starts a hub; it ends with the test, or by w.stop.
func (w *world) start() {
	w.t.Helper()
	store, err := stream.NewStore(w.js, w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := store.Provision(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.hub = stream.NewHub(store, stream.OnChange(func(r messages.StreamRecord) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.records = append(w.records, r)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.hub.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(w.stop)
	if err := w.hub.Sweep(w.t.Context(), func() error { return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// spec describes the stream from GUID 1 to GUID to.
func spec(to messages.GUID, estimate int) stream.Spec {
	return stream.Spec{
		Stream: messages.NewStreamID(to, 1, messages.FlagsPlain, ""), Node: "db1", Dataset: "data",
		To: to, From: 1, Flags: messages.FlagsPlain, Estimate: uint64(estimate),
	}
}

func (w *world) join(to messages.GUID, node messages.NodeName, open func(context.Context) (io.ReadCloser, error)) messages.StreamRecord {
	w.t.Helper()
	rec, err := w.hub.Join(w.t.Context(), spec(to, 0), node, open)
	if err != nil {
		w.t.Fatalf("join as %s: %v", node, err)
	}
	return rec
}

func (w *world) reader() *stream.Reader {
	w.t.Helper()
	r, err := stream.NewReader(w.server.JetStream(w.t, stream.ConnectOptions()...), w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// read collects a stream.
func (w *world) read(rec messages.StreamRecord, node messages.NodeName) ([]byte, stream.Stats, error) {
	w.t.Helper()
	var got bytes.Buffer
	stats, err := w.reader().Read(w.t.Context(), rec, node, nil, func(_ context.Context, r io.Reader) error {
		_, err := io.Copy(&got, r)
		return err
	})
	return got.Bytes(), stats, err
}

func (w *world) info(name string) *jetstream.StreamInfo {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := s.Info(w.t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func (w *world) bucketStream() string { return "OBJ_" + w.ns.Bucket() }

// eventuallyEmpty waits until nothing of any upload is left in JetStream.
func (w *world) eventuallyEmpty() {
	w.t.Helper()
	natstest.Eventually(w.t, 20*time.Second, "JetStream to be empty", func() error {
		for _, name := range []string{w.bucketStream(), w.ns.PartsStream()} {
			if held := w.info(name).State; held.Msgs > 0 || held.Consumers > 0 {
				return fmt.Errorf("%s holds %d messages on %v and has %d consumers", name, held.Msgs, held.Subjects, held.Consumers)
			}
		}
		return nil
	})
}

// noise is n bytes that no other seed gives.
func noise(n int, seed byte) []byte {
	var key [32]byte
	key[0] = seed
	binary.LittleEndian.PutUint64(key[8:], uint64(n))
	out := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(out)
	return out
}

// source is a scripted zfs send: it delivers data in odd pieces and then err.
type source struct {
	r     io.Reader
	err   error
	read  atomic.Int64
	gate  chan struct{}   // if not nil, one receive for each Read
	ctx   context.Context //nolint:containedctx // a child process has one, too
	close atomic.Int32
}

func (s *source) Read(p []byte) (int, error) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		}
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p[:min(len(p), 5000)])
	s.read.Add(int64(n))
	if errors.Is(err, io.EOF) && s.err != nil {
		err = s.err
	}
	return n, err
}

func (s *source) Close() error { s.close.Add(1); return nil }

// opener opens a source of data, and counts.
type opener struct {
	data  []byte
	err   error
	gate  chan struct{}
	count atomic.Int32
	mu    sync.Mutex
	last  *source
}

func (o *opener) open(ctx context.Context) (io.ReadCloser, error) {
	o.count.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = &source{r: bytes.NewReader(o.data), err: o.err, gate: o.gate, ctx: ctx}
	return o.last, nil
}

func (o *opener) source() *source {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

func wantBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d, equal up to %d", len(got), len(want), common(got, want))
	}
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (w *world) states() []messages.StreamState {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []messages.StreamState
	for _, r := range w.records {
		out = append(out, r.State)
	}
	return slices.Compact(out)
}
