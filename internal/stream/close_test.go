package stream_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// zfs recv dies while it waits for more: what it had asked for is not taken as
// consumed, and its own error is the one that counts.
func TestSinkThatDiesEndsItsBlockedRead(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	died := errors.New("zfs recv: exit status 1")
	stats, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		buf := make([]byte, w.cfg.PartSize)
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
		if err := r.(io.Closer).Close(); err != nil {
			return err
		}
		if n, err := r.Read(buf); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after Close: %d bytes, error %v", n, err)
		}
		return died
	})
	if !errors.Is(err, died) || errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("error is %v, want the sink's alone", err)
	}
	if stats.Parts != 0 {
		t.Errorf("%d parts count as consumed", stats.Parts)
	}
	w.eventuallyFree()
}

func TestCloseEndsARead(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(w.cfg.PartSize, 1), gate: make(chan struct{})}
	rec := w.join(2, "db2", o.open)
	died := errors.New("zfs recv: exit status 1")
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		read := make(chan error)
		go func() {
			_, err := r.Read(make([]byte, 1))
			read <- err
		}()
		if err := r.(io.Closer).Close(); err != nil {
			return err
		}
		if err := <-read; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the read's error is %v", err)
		}
		return died
	})
	if !errors.Is(err, died) || errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want the sink's alone", err)
	}
}
