package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func TestRoundTrip(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.Linger = time.Nanosecond })
	part := w.cfg.PartSize
	for i, size := range []int{1, w.cfg.ChunkSize, part - 1, part, part + 1, 3 * part, 10*part + 17} {
		o := &opener{data: noise(size, 1)}
		rec := w.join(messages.GUID(100+i), "db2", o.open)
		got, stats, err := w.read(rec, "db2")
		if err != nil {
			t.Fatalf("read %d bytes: %v", size, err)
		}
		wantBytes(t, got, o.data)
		if want := (size + part - 1) / part; stats.Parts != want || stats.Bytes != uint64(size) {
			t.Errorf("%d bytes: stats are %+v, want %d parts", size, stats, want)
		}
	}
	w.eventuallyEmpty()
}

func TestRoundTripOfRandomSizes(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.Linger = time.Nanosecond })
	to := messages.GUID(1000)
	rapid.Check(t, func(rt *rapid.T) {
		to++
		size := rapid.IntRange(1, 4*w.cfg.PartSize).Draw(rt, "size")
		o := &opener{data: noise(size, 2)}
		got, _, err := w.read(w.join(to, "db2", o.open), "db2")
		if err != nil || !bytes.Equal(got, o.data) {
			rt.Fatalf("%d of %d bytes, error %v", len(got), size, err)
		}
	})
}

func TestEmptySourceIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{}
	_, _, err := w.read(w.join(2, "db2", o.open), "db2")
	if !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want ErrStreamCut", err)
	}
}

func TestOpenErrorReachesTheJoiner(t *testing.T) {
	w := newWorld(t, nil)
	broken := errors.New("dataset does not exist")
	_, err := w.hub.Join(t.Context(), spec(2, 0), "db2", func(context.Context) (io.ReadCloser, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("error is %v, want %v", err, broken)
	}
	w.eventuallyEmpty()
}

func TestReadersShareOneUpload(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(10*w.cfg.PartSize, 3)}
	var wg sync.WaitGroup
	for _, node := range []messages.NodeName{"db2", "db3", "db4"} {
		rec := w.join(2, node, o.open)
		wg.Go(func() {
			got, _, err := w.read(rec, node)
			if err != nil {
				t.Errorf("%s: %v", node, err)
			}
			wantBytes(t, got, o.data)
		})
	}
	wg.Wait()
	if n := o.count.Load(); n != 1 {
		t.Errorf("the source was opened %d times", n)
	}
	if n := o.source().close.Load(); n != 1 {
		t.Errorf("the source was closed %d times", n)
	}
}

func TestLateJoinerFindsPartZero(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(3*w.cfg.PartSize, 4)} // fits into the window
	if _, _, err := w.read(w.join(2, "db2", o.open), "db2"); err != nil {
		t.Fatal(err)
	}
	got, _, err := w.read(w.join(2, "db3", o.open), "db3")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
	if n := o.count.Load(); n != 1 {
		t.Errorf("the source was opened %d times", n)
	}
}

func TestLateJoinerGetsTheNextAttempt(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(12*w.cfg.PartSize, 5)} // does not fit into the window
	first := w.join(2, "db2", o.open)
	if _, _, err := w.read(first, "db2"); err != nil {
		t.Fatal(err)
	}
	second := w.join(2, "db3", o.open)
	if second.Attempt == first.Attempt {
		t.Error("the late joiner got an attempt whose part 0 is gone")
	}
	third := w.join(2, "db4", o.open)
	if third.Attempt != second.Attempt {
		t.Error("the next joiner does not share the second attempt")
	}
	var wg sync.WaitGroup
	for node, rec := range map[messages.NodeName]messages.StreamRecord{"db3": second, "db4": third} {
		wg.Go(func() {
			got, _, err := w.read(rec, node)
			if err != nil {
				t.Errorf("%s: %v", node, err)
			}
			wantBytes(t, got, o.data)
		})
	}
	wg.Wait()
	if n := o.count.Load(); n != 2 {
		t.Errorf("the source was opened %d times, want 2", n)
	}
}

func TestNodeThatRestartedJoinsAgain(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(3*w.cfg.PartSize, 6)}
	rec := w.join(2, "db2", o.open)
	died := errors.New("receiver died")
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		_, _ = io.CopyN(io.Discard, r, int64(w.cfg.PartSize+1))
		return died
	})
	if !errors.Is(err, died) {
		t.Fatalf("error is %v, want the sink's", err)
	}
	got, _, err := w.read(w.join(2, "db2", o.open), "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
}

func TestStockObjectStoreReadsTheParts(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(3*w.cfg.PartSize+5, 7)}
	rec := w.join(2, "db2", o.open)
	if _, _, err := w.read(rec, "db2"); err != nil {
		t.Fatal(err)
	}
	obs, err := w.js.ObjectStore(t.Context(), w.ns.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	list, err := obs.List(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("the bucket lists %d objects, error %v; want 4", len(list), err)
	}
	var got []byte
	for i := range list {
		b, err := obs.GetBytes(t.Context(), messages.PartObject(rec.Stream, rec.Attempt, i))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	wantBytes(t, got, o.data)
}

func TestEstimateMakesSmallParts(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.PartSize, c.ChunkSize, c.Window = 4*mib, 256*kib, 16*mib })
	o := &opener{data: noise(3*mib, 8)}
	rec, err := w.hub.Join(t.Context(), spec(2, len(o.data)), "db2", o.open)
	if err != nil {
		t.Fatal(err)
	}
	got, stats, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
	if stats.Parts != 3 {
		t.Errorf("%d parts, want 3 of 1 MiB", stats.Parts)
	}
}

func TestRecordsTellTheStory(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.Linger = time.Nanosecond })
	o := &opener{data: noise(3*w.cfg.PartSize, 9)}
	if _, _, err := w.read(w.join(2, "db2", o.open), "db2"); err != nil {
		t.Fatal(err)
	}
	w.eventuallyEmpty()
	natstest.Eventually(t, 5*time.Second, "the upload to leave the list", func() error {
		if s := w.hub.Streams(); len(s) > 0 {
			return errors.New("still listed")
		}
		return nil
	})
	got := w.states()
	if len(got) != 2 || got[0] != messages.StreamRunning || got[1] != messages.StreamComplete {
		t.Errorf("states were %v", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.records[len(w.records)-1]
	if last.Sent != uint64(len(o.data)) || last.Parts != 3 || last.Error != "" || last.Validate() != nil {
		t.Errorf("last record is %+v", last)
	}
}

func TestPlacesAreLimited(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.MaxUploads = 1 })
	busy := &opener{data: noise(w.cfg.PartSize, 10), gate: make(chan struct{})}
	w.join(2, "db2", busy.open)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	other := &opener{data: noise(100, 11)}
	if _, err := w.hub.Join(ctx, spec(3, 0), "db3", other.open); !errors.Is(err, messages.ErrUnavailable) || !errors.Is(err, messages.ErrQueued) {
		t.Errorf("error is %v, want ErrUnavailable and ErrQueued", err)
	}
	if n := other.count.Load(); n != 0 {
		t.Errorf("the refused source was opened %d times", n)
	}
}

func TestLingeringUploadMakesRoom(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.MaxUploads = 1; c.Linger = time.Hour })
	for to := range messages.GUID(3) {
		o := &opener{data: noise(1000, byte(to))}
		got, _, err := w.read(w.join(to+2, "db2", o.open), "db2")
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, got, o.data)
	}
}

func TestProvisionNamesWhatDoesNotFit(t *testing.T) {
	server := natstest.Run(t)
	js := server.JetStream(t)
	cfg := stream.Config{Cluster: "main"}
	store, err := stream.NewStore(js, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Provision(t.Context()); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("without a bucket the error is %v, want ErrNotFound", err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "OBJ_pgresync-main", Subjects: []string{"$O.pgresync-main.C.>", "$O.pgresync-main.M.>"}, MaxBytes: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = store.Provision(t.Context())
	for _, word := range []string{"max_bytes", "discard", "allow_rollup_hdrs", "allow_direct"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(word)) {
			t.Errorf("error does not name %s: %v", word, err)
		}
	}
	cfg.Provision = true
	if store, err = stream.NewStore(js, cfg); err != nil {
		t.Fatal(err)
	}
	if err := store.Provision(t.Context()); err != nil {
		t.Errorf("provisioning does not mend it: %v", err)
	}
	if err := store.Provision(t.Context()); err != nil {
		t.Errorf("provisioning is not idempotent: %v", err)
	}
}
