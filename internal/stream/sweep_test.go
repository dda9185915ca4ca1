package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/pgresync/pgresync/internal/stream"
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
