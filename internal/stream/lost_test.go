package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// forgetful is a world whose server loses all it stored when it restarts.
func forgetful(t *testing.T, change func(*stream.Config)) *world {
	t.Helper()
	return newWorld(t, func(c *stream.Config) {
		c.Storage = jetstream.MemoryStorage
		change(c)
	})
}

// transfer asks until it is served, as a standby does, and reads.
func (w *world) transfer(to messages.GUID, node messages.NodeName, o *opener) (rec messages.StreamRecord) {
	w.t.Helper()
	natstest.Eventually(w.t, 30*time.Second, fmt.Sprintf("stream %d to be joined", to), func() (err error) {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		rec, err = w.hub.Join(ctx, spec(to, 0), node, o.open)
		return err
	})
	got, _, err := w.read(rec, node)
	if err != nil {
		w.t.Fatalf("read stream %d: %v", to, err)
	}
	if common(got, o.data) != len(o.data) {
		w.t.Errorf("stream %d arrived with %d bytes, want %d", to, len(got), len(o.data))
	}
	return rec
}

// A server in memory, or without a volume, comes back empty. No place is lost by
// that, and no later stream.
func TestWhatAServerLostIsMadeAgain(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := forgetful(t, func(c *stream.Config) { c.MaxUploads = 1 })
	running := &opener{data: noise(3*w.cfg.PartSize, 1), gate: make(chan struct{})}
	rec := w.join(2, "db2", running.open)
	w.server.Restart()
	if _, _, err := w.read(rec, "db2"); !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("the reader's error is %v, want ErrStreamCut", err)
	}
	o := &opener{data: noise(3*w.cfg.PartSize, 2)}
	first := w.transfer(3, "db2", o)
	w.server.Restart()
	if again := w.transfer(3, "db3", o); again.Attempt == first.Attempt { // it lingered
		t.Error("joined an attempt whose parts are lost")
	}
}

// Who is the first to ask has all made again. What others had uploaded is gone all the
// same.
func TestUploadsOfALostStoreAreJoinedNoMore(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := forgetful(t, func(*stream.Config) {})
	o := &opener{data: noise(3*w.cfg.PartSize, 1)}
	first := w.transfer(2, "db2", o)
	w.server.Restart()
	w.transfer(3, "db2", o)
	if again := w.transfer(2, "db3", o); again.Attempt == first.Attempt {
		t.Error("joined an attempt whose parts are lost")
	}
}

// Where the operator makes the streams, he is waited for.
func TestJoinOfWhatIsLostSaysUnavailable(t *testing.T) {
	server := natstest.Run(t)
	operatorsStreams(t, server.JetStream(t), messages.Subjects{Cluster: "main"})
	w := startWorld(t, server, func(c *stream.Config) { c.Provision = false })
	o := &opener{data: noise(w.cfg.PartSize, 1)}
	w.transfer(2, "db2", o)
	if err := w.js.DeleteStream(t.Context(), w.ns.PartsStream()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the one that lingers, and a new one
		_, err := w.hub.Join(t.Context(), spec(2, 0), "db3", o.open)
		if !errors.Is(err, messages.ErrUnavailable) || errors.Is(err, messages.ErrNotFound) {
			t.Errorf("error is %v, want ErrUnavailable", err)
		}
	}
}

func TestSweepMakesAgainWhatIsLost(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{w.bucketStream(), w.ns.PartsStream()} {
		if err := w.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.hub.Sweep(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	w.eventuallyEmpty()
}

// The end of a stream cannot be told although the server answers: each side would
// take the other for alive.
func TestEndThatCannotBeToldDetachesTheReaders(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, func(c *stream.Config) { c.StallTimeout = 2 * time.Second })
	out, in := io.Pipe()
	rec := w.join(2, "db2", func(context.Context) (io.ReadCloser, error) { return out, nil })
	if _, err := in.Write(noise(w.cfg.PartSize+1, 1)); err != nil {
		t.Fatal(err)
	}
	w.cfg.StallTimeout = time.Minute // the reader's
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		if _, err := io.CopyN(io.Discard, r, int64(w.cfg.PartSize)); err != nil {
			return err
		}
		w.alter(w.ns.PartsStream(), func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
		in.CloseWithError(errors.New("exit status 1"))
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want ErrStreamCut", err)
	}
	w.eventuallyFree()
}

func TestLeftoversThatCannotBeRemovedTakeNoPlace(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, func(c *stream.Config) { c.StallTimeout, c.Linger = time.Second, time.Nanosecond })
	w.alter(w.ns.PartsStream(), func(c *jetstream.StreamConfig) { c.DenyPurge = true })
	o := &opener{data: noise(w.cfg.PartSize, 1)}
	if _, _, err := w.read(w.join(2, "db2", o.open), "db2"); err != nil {
		t.Fatal(err)
	}
	w.eventuallyFree()
}

// eventuallyFree waits until all places are free.
func (w *world) eventuallyFree() {
	w.t.Helper()
	natstest.Eventually(w.t, 20*time.Second, "the place to be free", func() error {
		if s := w.hub.Streams(); len(s) > 0 {
			return fmt.Errorf("uploads are %+v", s)
		}
		return nil
	})
}

// alter changes a stream as an operator might.
func (w *world) alter(name string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	cfg := w.info(name).Config
	change(&cfg)
	if _, err := w.js.UpdateStream(w.t.Context(), cfg); err != nil {
		w.t.Fatal(err)
	}
}

// A node that is off duty asks, too, when it starts: it takes nothing away from the
// one that publishes.
func TestProvisionOnlyRaises(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.MaxBucket = 64 * mib })
	for _, tc := range []struct{ asks, want int64 }{{32 * mib, 64 * mib}, {96 * mib, 96 * mib}} {
		cfg := w.cfg
		cfg.MaxBucket = tc.asks
		other, err := stream.NewStore(w.js, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Provision(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.info(w.bucketStream()).Config.MaxBytes; got != tc.want {
			t.Errorf("max_bytes is %d after a node that is configured for %d started, want %d", got, tc.asks, tc.want)
		}
	}
}
