package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// Every node of a cluster runs a hub on the same bucket, most of them for the day
// on which they become the primary.
func TestAnotherNodesHubLeavesLiveUploadsAlone(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	var got bytes.Buffer
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		if _, err := io.CopyN(&got, r, int64(w.cfg.PartSize+10)); err != nil {
			return err
		}
		standbysHub(t, w)
		_, err := io.Copy(&got, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got.Bytes(), o.data)
}

// standbysHub starts a hub that is not on duty, and stops it.
func standbysHub(t *testing.T, w *world) {
	t.Helper()
	store, err := stream.NewStore(w.js, w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	hub := stream.NewHub(store)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := hub.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	off := errors.New("not on duty")
	if err := hub.Sweep(t.Context(), func() error { return off }); !errors.Is(err, off) {
		t.Errorf("a sweep off duty gives %v, want %v", err, off)
	}
	cancel()
	wg.Wait()
}

// Chunks that are gone while they are read never come: the server goes on to say
// that it has nothing to send, and the reader must not take that for life.
func TestReaderOfSweptChunksIsCut(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, nil)
	o := &opener{data: noise(4*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	w.cfg.RateLimit = uint64(2 * w.cfg.ChunkSize) // a part takes long, and is asked for chunk by chunk
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	_, err := w.reader().Read(ctx, rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		if _, err := io.CopyN(io.Discard, r, 1); err != nil {
			return err
		}
		w.stop() // while the second part is on its way
		w.start()
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want ErrStreamCut", err)
	}
}
