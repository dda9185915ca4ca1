package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

// Eight standbys ask for one stream; two of them stop in the middle, each in its
// own way: one whose zfs recv hangs, one that never reads at all.
func TestTwoOfEightReadersStall(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, func(c *stream.Config) { c.ReaderGrace = 2 * time.Second })
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	records := map[messages.NodeName]messages.StreamRecord{}
	for i := range 8 {
		node := messages.NodeName(fmt.Sprintf("db%d", i+2))
		records[node] = w.join(2, node, o.open)
	}
	var all, healthy sync.WaitGroup
	defer all.Wait()
	release := make(chan struct{})
	all.Go(func() {
		_, err := w.reader().Read(t.Context(), records["db8"], "db8", nil, func(_ context.Context, r io.Reader) error {
			_, _ = io.CopyN(io.Discard, r, int64(5*w.cfg.PartSize))
			<-release
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, messages.ErrStreamCut) {
			t.Errorf("the stalled reader's error is %v, want ErrStreamCut", err)
		}
	})
	for i := range 6 {
		node := messages.NodeName(fmt.Sprintf("db%d", i+2))
		healthy.Go(func() {
			got, _, err := w.read(records[node], node)
			if err != nil {
				t.Errorf("%s: %v", node, err)
			}
			if !bytes.Equal(got, o.data) {
				t.Errorf("%s got other bytes", node)
			}
		})
	}
	healthy.Wait()
	close(release)
	if s := w.hub.Streams(); len(s) != 1 || len(s[0].Readers) != 6 {
		t.Errorf("streams are %+v, want one with six readers", s)
	}
	if n := o.count.Load(); n != 1 {
		t.Errorf("the source was opened %d times", n)
	}
}

// A reader that is a hundred times slower than the source costs the publisher a
// window, whatever the length of the stream.
func TestReaderThatIsMuchSlower(t *testing.T) {
	w := newWorld(t, nil)
	size := int64(40 * w.cfg.PartSize)
	var read atomic.Int64
	rec := w.join(2, "db2", openContent(2, size, 0, &read))
	// Its own two parts are what the reader holds.
	bound := int64(w.cfg.Window + 4*w.cfg.PartSize)
	slow := w.cfg
	slow.RateLimit = 768 * kib
	r, err := stream.NewReader(w.server.JetStream(t, stream.ConnectOptions()...), slow)
	if err != nil {
		t.Fatal(err)
	}
	paused := 0
	_, err = r.Read(t.Context(), rec, "db2", func(n uint64) {
		if ahead := read.Load() - int64(n); ahead > bound {
			t.Errorf("the source is %d bytes ahead, more than %d", ahead, bound)
		}
		if stored := w.info(w.bucketStream()).State.Bytes; stored > uint64(bound) {
			t.Errorf("the bucket holds %d bytes, more than %d", stored, bound)
		}
		if s := w.hub.Streams(); len(s) == 1 && s[0].Paused {
			paused++
		}
	}, func(_ context.Context, r io.Reader) error { return expect(r, newContent(2, size, 0)) })
	if err != nil {
		t.Fatal(err)
	}
	if paused == 0 {
		t.Error("the record never said that the source is paused")
	}
}

// A reader that creeps is not held against those that could go on: it is to go on
// by itself.
func TestCreepingReaderIsSplitOff(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.ReaderGrace = 2 * time.Second })
	o := &opener{data: noise(60*w.cfg.PartSize, 1)}
	fast, creeping := w.join(2, "db2", o.open), w.join(2, "db3", o.open)
	slow := w.cfg
	slow.RateLimit = 128 * kib // two parts a second: it never stands still
	r, err := stream.NewReader(w.server.JetStream(t, stream.ConnectOptions()...), slow)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, err := r.Read(t.Context(), creeping, "db3", nil, func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, messages.ErrStreamCut) {
			t.Errorf("the creeping reader's error is %v, want ErrStreamCut", err)
		}
	})
	got, _, err := w.read(fast, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
}

// Two streams at once: one whose reader stands still does not take the other's
// share of the bucket, and two that move get on alike.
func TestStreamsShareTheBucket(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.MaxUploads = 3; c.RateLimit = 4 * mib })
	limit := uint64(w.info(w.bucketStream()).Config.MaxBytes)
	stuck := &opener{data: noise(40*w.cfg.PartSize, 1)}
	w.join(2, "db9", stuck.open)
	var wg sync.WaitGroup
	var progress [2]atomic.Uint64
	size := 2 * mib
	for i := range 2 {
		to := messages.GUID(3 + i)
		o := &opener{data: noise(size, byte(to))}
		node := messages.NodeName(fmt.Sprintf("db%d", 2+i))
		rec := w.join(to, node, o.open)
		wg.Go(func() {
			_, err := w.reader().Read(t.Context(), rec, node, func(n uint64) {
				progress[i].Store(n)
				if stored := w.info(w.bucketStream()).State.Bytes; stored > limit {
					t.Errorf("the bucket holds %d bytes, its limit is %d", stored, limit)
				}
				if other := progress[1-i].Load(); n == uint64(size) && other < uint64(size)/2 {
					t.Errorf("%s is done when the other has %d of %d bytes", node, other, size)
				}
			}, func(_ context.Context, r io.Reader) error {
				got, err := io.ReadAll(r)
				if err == nil && !bytes.Equal(got, o.data) {
					err = errors.New("other bytes")
				}
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", node, err)
			}
		})
	}
	wg.Wait()
}

// A limit is a promise of at least so much time, not of at most.
func TestRateIsLimitedOnEitherSide(t *testing.T) {
	const size, rate = 2 * mib, mib
	least := time.Second * (size - 2*mib/4) / rate // but for the bursts
	for name, limited := range map[string]struct{ writer, reader uint64 }{"writer": {rate, 0}, "reader": {0, rate}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *stream.Config) { c.RateLimit = limited.writer })
			w.cfg.RateLimit = limited.reader
			o := &opener{data: noise(size, 1)}
			began := time.Now()
			got, _, err := w.read(w.join(2, "db2", o.open), "db2")
			if err != nil {
				t.Fatal(err)
			}
			wantBytes(t, got, o.data)
			if took := time.Since(began); took < least {
				t.Errorf("%d bytes at %d a second took %s, less than %s", size, rate, took, least)
			}
		})
	}
}

func TestRecordTellsRateAndTimeLeft(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, func(c *stream.Config) { c.RateLimit = mib })
	o := &opener{data: noise(3*mib, 1)}
	rec, err := w.hub.Join(t.Context(), spec(2, len(o.data)), "db2", o.open)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.read(rec, "db2"); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		if r.State == messages.StreamRunning && r.Rate > 0 && r.LeftMillis > 0 && r.LeftMillis < time.Minute.Milliseconds() {
			return
		}
	}
	t.Errorf("none of %d records tells rate and time left: %+v", len(w.records), w.records)
}

// A record that is not repeated expires: it must be, while a stream stands still.
func TestRecordOfAStreamThatStandsStillIsRepeated(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, nil)
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	w.join(2, "db2", o.open)
	seen := func() int { w.mu.Lock(); defer w.mu.Unlock(); return len(w.records) }
	natstest.Eventually(t, 10*time.Second, "the source to be paused", func() error {
		if s := w.hub.Streams(); len(s) != 1 || !s[0].Paused {
			return errors.New("it is not")
		}
		return nil
	})
	before := seen()
	natstest.Eventually(t, 10*time.Second, "two more records", func() error {
		if seen() < before+2 {
			return errors.New("not yet")
		}
		return nil
	})
}
