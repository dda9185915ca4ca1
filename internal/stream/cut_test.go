package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// A cut that lasts many times the time after which a silent writer is given up:
// neither side begins again.
func TestLongCutGoesOnFromTheVerifiedBytes(t *testing.T) {
	t.Parallel() // it waits most of the time
	cut := time.Duration(scale(t, envCut, 12)) * time.Second
	w := newWorld(t, nil)
	w.cfg.StallTimeout = 8 * time.Second // the reader's; more than one call may take
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	var got bytes.Buffer
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		if _, err := io.CopyN(&got, r, int64(3*w.cfg.PartSize+100)); err != nil {
			return err
		}
		w.server.Stop()
		back := time.NewTimer(cut)
		defer back.Stop()
		<-back.C
		w.server.Start()
		_, err := io.Copy(&got, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got.Bytes(), o.data)
	if n := o.count.Load(); n != 1 {
		t.Errorf("the source was opened %d times, want once", n)
	}
}

// A zfs send that hangs holds a snapshot: it is ended, and the reader is told.
func TestSilentSourceIsGivenUp(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.StallTimeout = time.Second })
	o := &opener{data: noise(w.cfg.PartSize, 1), gate: make(chan struct{})}
	_, _, err := w.read(w.join(2, "db2", o.open), "db2")
	if !errors.Is(err, messages.ErrStreamCut) || !strings.Contains(err.Error(), "the source gives no byte") {
		t.Errorf("error is %v, want ErrStreamCut because of the source", err)
	}
	if n := o.source().close.Load(); n != 1 {
		t.Errorf("the source was closed %d times", n)
	}
}

// The same for a bucket that stays full: waiting for it is bounded, and the reason
// reaches the reader.
func TestBucketThatStaysFullIsGivenUp(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, func(c *stream.Config) { c.StallTimeout = 2 * time.Second })
	w.fill(t)
	o := &opener{data: noise(3*w.cfg.PartSize, 1)}
	_, _, err := w.read(w.join(2, "db2", o.open), "db2")
	if !errors.Is(err, messages.ErrStreamCut) || !strings.Contains(err.Error(), "maximum bytes exceeded") {
		t.Errorf("error is %v, want ErrStreamCut because of the bucket", err)
	}
}

// fill leaves no room for a part in the bucket.
func (w *world) fill(t *testing.T) {
	t.Helper()
	obs, err := w.js.ObjectStore(t.Context(), w.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	room := w.info(w.bucketStream()).Config.MaxBytes
	if _, err := obs.PutBytes(t.Context(), "filler", noise(int(room)-30*kib, 2)); err != nil {
		t.Fatal(err)
	}
}

// A reader that lost its connection comes back with a token. What it left behind
// must not keep it from a place.
func TestReaderThatComesBackWithATokenGetsThePlaceItLeft(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.MaxUploads = 1 }) // with a grace of ten minutes
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	w.join(2, "db2", o.open) // and is cut off
	rest := &opener{data: noise(3*w.cfg.PartSize, 2)}
	resumed := spec(2, 0)
	resumed.Stream, resumed.Resumed = messages.NewStreamID(2, 1, messages.FlagsPlain, "1-ab"), true
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	rec, err := w.hub.Join(ctx, resumed, "db2", rest.open)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, rest.data)
}

// A part that is bad for good is made again: the attempt that has it is joined no
// more.
func TestBadPartIsProducedAgain(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(3*w.cfg.PartSize, 1)}
	first := stored(t, w, o)
	tamper(t, w, first, 0, func(c [][]byte) [][]byte { c[3][17] ^= 4; return c })
	if _, _, err := w.read(first, "db2"); !errors.Is(err, stream.ErrBadPart) {
		t.Fatalf("error is %v, want ErrBadPart", err)
	}
	again := spec(2, 0)
	again.Not = first.Attempt
	rec, err := w.hub.Join(t.Context(), again, "db2", o.open)
	if err != nil {
		t.Fatal(err)
	}
	other := w.join(2, "db3", o.open) // who never saw the bad one
	if rec.Attempt == first.Attempt || other.Attempt != rec.Attempt {
		t.Errorf("attempts are %s and %s, want the same and not %s", rec.Attempt, other.Attempt, first.Attempt)
	}
	got, _, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
}

// First come, first served: who waits for a place is not overtaken.
func TestPlacesAreGivenInTheOrderOfTheJoins(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.MaxUploads = 1; c.Linger = time.Nanosecond })
	busy := &opener{data: noise(w.cfg.PartSize, 10), gate: make(chan struct{})}
	rec := w.join(2, "db2", busy.open)
	order := make(chan messages.GUID, 3)
	var joins sync.WaitGroup
	defer joins.Wait()
	for to := range messages.GUID(3) {
		o := &opener{data: noise(1000, byte(to))}
		joined := make(chan struct{})
		joins.Go(func() {
			s := spec(10+to, 0)
			s.Dataset = messages.RelName("d" + s.To.String())
			close(joined)
			rec, err := w.hub.Join(t.Context(), s, "db3", func(ctx context.Context) (io.ReadCloser, error) {
				order <- s.To
				return o.open(ctx)
			})
			if err != nil {
				t.Errorf("join: %v", err)
				return
			}
			if _, _, err := w.read(rec, "db3"); err != nil {
				t.Errorf("read: %v", err)
			}
		})
		<-joined
		natstest.Eventually(t, 5*time.Second, "the join to wait", func() error {
			if n := w.hub.Waiting(); n != int(to)+1 {
				return errors.New("not yet")
			}
			return nil
		})
	}
	close(busy.gate)
	if _, _, err := w.read(rec, "db2"); err != nil {
		t.Fatal(err)
	}
	for want := range messages.GUID(3) {
		if got := <-order; got != 10+want {
			t.Errorf("stream %d was next, want %d", got, 10+want)
		}
	}
}
