package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// A zfs send that dies, or that writes everything and then exits 1, must not
// look complete, and its last bytes must not be applied.
func TestSourceThatFails(t *testing.T) {
	w := newWorld(t, nil)
	part := w.cfg.PartSize
	broken := errors.New("zfs send: exit status 1")
	for i, size := range []int{0, 1, part - 1, part, part + 1, 3 * part, 3*part + 9} {
		o := &opener{data: noise(size, 1), err: broken}
		got, _, err := w.read(w.join(messages.GUID(10+i), "db2", o.open), "db2")
		if !errors.Is(err, messages.ErrStreamCut) || !strings.Contains(err.Error(), broken.Error()) {
			t.Errorf("%d bytes: error is %v, want ErrStreamCut that quotes the source", size, err)
		}
		if want := max(0, size-1) / part * part; len(got) != want {
			t.Errorf("%d bytes: the sink got %d, want %d: all but the last part", size, len(got), want)
		}
		wantBytes(t, got, o.data[:len(got)])
	}
	w.eventuallyEmpty()
}

func TestJoinAfterAFailureIsANewAttempt(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(1000, 1), err: errors.New("exit status 1")}
	first := w.join(2, "db2", o.open)
	if _, _, err := w.read(first, "db2"); !errors.Is(err, messages.ErrStreamCut) {
		t.Fatalf("error is %v, want ErrStreamCut", err)
	}
	good := &opener{data: noise(1000, 1)}
	second := w.join(2, "db2", good.open)
	if second.Attempt == first.Attempt {
		t.Fatal("joined the failed attempt")
	}
	got, _, err := w.read(second, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, good.data)
}

// stored joins and waits until the whole stream lies in the bucket.
func stored(t *testing.T, w *world, o *opener) messages.StreamRecord {
	t.Helper()
	rec := w.join(2, "db2", o.open)
	natstest.Eventually(t, 10*time.Second, "the upload to complete", func() error {
		if s := w.hub.Streams(); len(s) != 1 || s[0].State != messages.StreamComplete {
			return errors.New("not complete")
		}
		return nil
	})
	return rec
}

// tamper rewrites the chunks of one part.
func tamper(t *testing.T, w *world, rec messages.StreamRecord, part int, change func(chunks [][]byte) [][]byte) {
	t.Helper()
	obs, err := w.js.ObjectStore(t.Context(), w.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	info, err := obs.GetInfo(t.Context(), messages.PartObject(rec.Stream, rec.Attempt, part))
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.js.Stream(t.Context(), w.bucketStream())
	if err != nil {
		t.Fatal(err)
	}
	subject := "$O." + w.ns.Bucket() + ".C." + info.NUID
	cons, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := cons.Fetch(int(info.Chunks), jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var chunks [][]byte
	for m := range batch.Messages() {
		chunks = append(chunks, bytes.Clone(m.Data()))
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		t.Fatal(err)
	}
	for _, c := range change(chunks) {
		if _, err := w.js.Publish(t.Context(), subject, c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCorruptPartNeverReachesTheSink(t *testing.T) {
	for name, change := range map[string]func([][]byte) [][]byte{
		"flipped bit":    func(c [][]byte) [][]byte { c[3][17] ^= 4; return c },
		"missing chunk":  func(c [][]byte) [][]byte { return append(c[:2], c[3:]...) },
		"extra chunk":    func(c [][]byte) [][]byte { return append(c, []byte("x")) },
		"swapped chunks": func(c [][]byte) [][]byte { c[1], c[2] = c[2], c[1]; return c },
		"short chunk":    func(c [][]byte) [][]byte { c[7] = c[7][:10]; return c },
		"long chunk":     func(c [][]byte) [][]byte { c[7] = append(c[7], "more"...); return c },
		"no chunks":      func([][]byte) [][]byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			o := &opener{data: noise(3*w.cfg.PartSize, 1)}
			rec := stored(t, w, o)
			tamper(t, w, rec, 1, change)
			got, stats, err := w.read(rec, "db2")
			if !errors.Is(err, stream.ErrBadPart) || !errors.Is(err, messages.ErrStreamCut) {
				t.Fatalf("error is %v, want ErrBadPart and ErrStreamCut", err)
			}
			if object := messages.PartObject(rec.Stream, rec.Attempt, 1); !strings.Contains(err.Error(), object) {
				t.Errorf("error does not name part %s: %v", object, err)
			}
			if stats.Refetches == 0 {
				t.Error("the part was not fetched again")
			}
			wantBytes(t, got, o.data[:w.cfg.PartSize])
		})
	}
}

func TestSlowReaderHoldsTheSourceBack(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	bound := int64(w.cfg.Window + 2*w.cfg.PartSize)
	var got bytes.Buffer
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		natstest.Eventually(t, 10*time.Second, "the window to fill", func() error {
			if o.source().read.Load() < bound {
				return errors.New("not full")
			}
			return nil
		})
		for range 20 { // it stays there
			if n := o.source().read.Load(); n != bound {
				t.Errorf("%d bytes were read from the source, want %d: the window, a part that waits and one behind it", n, bound)
			}
			if n := w.info(w.bucketStream()).State.Bytes; n > uint64(bound) {
				t.Errorf("the bucket holds %d bytes, more than %d", n, bound)
			}
		}
		_, err := io.Copy(&got, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got.Bytes(), o.data)
}

func TestVanishedReaderIsDetached(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.ReaderGrace = 2 * time.Second })
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	w.join(2, "db3", o.open) // and is never heard of again
	got, _, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
	// It may have ended meanwhile, for db2 has taken all of it.
	for _, s := range w.hub.Streams() {
		if len(s.Readers) != 1 || s.Readers[0] != "db2" {
			t.Errorf("the stream is %+v, want none or one with the reader db2", s)
		}
	}
}

func TestUploadWithoutReadersEnds(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.ReaderGrace = 600 * time.Millisecond })
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	w.join(2, "db2", o.open)
	natstest.Eventually(t, 20*time.Second, "the source to be closed", func() error {
		if o.source().close.Load() == 0 {
			return errors.New("open")
		}
		return nil
	})
	w.eventuallyEmpty()
}

func TestReaderThatFailsLeavesAtOnce(t *testing.T) {
	w := newWorld(t, nil) // with a grace of ten minutes
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	full := errors.New("out of space")
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		_, _ = io.CopyN(io.Discard, r, 10)
		return full
	})
	if !errors.Is(err, full) || errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want the sink's alone", err)
	}
	w.eventuallyEmpty()
}

func TestSinkThatReturnsEarlyIsAnError(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(1000, 1)}
	_, err := w.reader().Read(t.Context(), w.join(2, "db2", o.open), "db2", nil, func(_ context.Context, r io.Reader) error {
		_, err := io.CopyN(io.Discard, r, 1000) // all bytes, but not the end
		return err
	})
	if err == nil {
		t.Error("a sink that never saw the end passed")
	}
}

func TestServerRestartsInMidStream(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, nil)
	o := &opener{data: noise(60*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	var got bytes.Buffer
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		for range 2 {
			if _, err := io.CopyN(&got, r, int64(15*w.cfg.PartSize+100)); err != nil {
				return err
			}
			w.server.Restart()
		}
		_, err := io.Copy(&got, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got.Bytes(), o.data)
}

func TestReaderGivesUpOnADeadServer(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, func(c *stream.Config) { c.CutTimeout = time.Second })
	o := &opener{data: noise(10*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		if _, err := io.CopyN(io.Discard, r, 10); err != nil {
			return err
		}
		w.server.Stop()
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want ErrStreamCut", err)
	}
}

func TestSlowSourceIsNotADeadWriter(t *testing.T) {
	w := newWorld(t, nil)
	w.cfg.StallTimeout = time.Second // the reader's
	gate := make(chan struct{})
	o := &opener{data: noise(w.cfg.PartSize, 1), gate: gate}
	rec := w.join(2, "db2", o.open)
	open := time.AfterFunc(3*time.Second, func() { close(gate) })
	defer open.Stop()
	got, _, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
}

func TestStoppedPublisherCutsAndTheNextOneSweeps(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		if _, err := io.CopyN(io.Discard, r, 10); err != nil {
			return err
		}
		w.stop()
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want ErrStreamCut", err)
	}
	if n := o.source().close.Load(); n != 1 {
		t.Errorf("the source was closed %d times", n)
	}
	w.plantLeftovers(t)
	w.start()
	natstest.Eventually(t, 10*time.Second, "only the foreign object to be left", func() error {
		info := w.info(w.bucketStream())
		if info.State.Msgs != 2 || w.info(w.ns.PartsStream()).State.Msgs != 0 {
			return errors.New("leftovers")
		}
		return nil
	})
	obs, err := w.js.ObjectStore(t.Context(), w.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := obs.GetString(t.Context(), "notes.txt"); err != nil || got != "keep me" {
		t.Errorf("the foreign object is %q, error %v", got, err)
	}
}

func (w *world) plantLeftovers(t *testing.T) {
	t.Helper()
	obs, err := w.js.ObjectStore(t.Context(), w.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := obs.PutString(t.Context(), "notes.txt", "keep me"); err != nil {
		t.Fatal(err)
	}
	dead := messages.PartObject(messages.NewStreamID(9, 8, messages.FlagsPlain, ""), messages.NewMessageID(time.Now()), 0)
	if _, err := obs.PutString(t.Context(), dead, "dead"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.Publish(t.Context(), "$O."+w.ns.Bucket()+".C.orphan", []byte("chunk")); err != nil {
		t.Fatal(err)
	}
}

func TestContextEndsARead(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(w.cfg.PartSize, 1), gate: make(chan struct{})}
	rec := w.join(2, "db2", o.open)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	_, err := w.reader().Read(ctx, rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		wg.Go(cancel)
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

func TestFullBucketIsAnAlarmNotTheEnd(t *testing.T) {
	w := newWorld(t, nil)
	w.stop()
	w.fill(t)
	w.start()
	o := &opener{data: noise(3*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	natstest.Eventually(t, 10*time.Second, "the record to name the trouble", func() error {
		if s := w.hub.Streams(); len(s) != 1 || !strings.Contains(s[0].Error, "maximum bytes exceeded") {
			return fmt.Errorf("records are %+v", s)
		}
		return nil
	})
	obs, err := w.js.ObjectStore(t.Context(), w.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if err := obs.Delete(t.Context(), "filler"); err != nil {
		t.Fatal(err)
	}
	got, _, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
	counts := w.info(w.bucketStream()).State.Subjects
	if len(counts) != 3*2+1 { // chunks and description of each part, and the tombstone
		t.Errorf("failed attempts left chunks: %v", counts)
	}
}
