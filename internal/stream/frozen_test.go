package stream_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// frozenWorld is a publisher and a reader on a server that can be frozen: its
// connections stay, and nothing is answered.
func frozenWorld(t *testing.T, change func(*stream.Config)) (*world, *natstest.Process, *stream.Reader) {
	t.Helper()
	server := natstest.StartProcess(t)
	cfg := killConfig()
	cfg.RateLimit, cfg.StallTimeout = 0, 30*time.Second
	change(&cfg)
	w := &world{t: t, cfg: cfg, ns: messages.Subjects{Cluster: "main"}}
	w.js = natstest.JetStream(t, natstest.Connect(t, server.URL(), stream.ConnectOptions()...))
	w.start()
	r, err := stream.NewReader(natstest.JetStream(t, natstest.Connect(t, server.URL(), stream.ConnectOptions()...)), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w, server, r
}

func TestFrozenServerThaws(t *testing.T) {
	t.Parallel() // it waits most of the time
	const size = 40 * mib
	w, server, reader := frozenWorld(t, func(*stream.Config) {})
	var read atomic.Int64
	rec := w.join(2, "db2", openContent(2, size, 0, &read))
	frozen := false
	_, err := reader.Read(t.Context(), rec, "db2", func(n uint64) {
		if n < size/3 || frozen {
			return
		}
		frozen = true
		server.Freeze()
		thaw := time.NewTimer(8 * time.Second) // longer than any one call waits
		defer thaw.Stop()
		<-thaw.C
		server.Thaw()
	}, func(_ context.Context, r io.Reader) error { return expect(r, newContent(2, size, 0)) })
	if err != nil {
		t.Fatal(err)
	}
	if read.Load() != size {
		t.Errorf("%d bytes were read from the source, want %d: once", read.Load(), size)
	}
}

// No call to the server waits for ever: both sides end by themselves.
func TestFrozenServerIsGivenUp(t *testing.T) {
	t.Parallel() // it waits most of the time
	const size = 40 * mib
	w, server, reader := frozenWorld(t, func(c *stream.Config) { c.StallTimeout, c.CutTimeout = 3*time.Second, 3*time.Second })
	var read atomic.Int64
	closed := make(chan struct{})
	rec := w.join(2, "db2", func(ctx context.Context) (io.ReadCloser, error) {
		src, err := openContent(2, size, 0, &read)(ctx)
		return closing{src, closed}, err
	})
	frozen := false
	_, err := reader.Read(t.Context(), rec, "db2", func(n uint64) {
		if n >= size/3 && !frozen {
			frozen = true
			server.Freeze()
		}
	}, func(_ context.Context, r io.Reader) error { return expect(r, newContent(2, size, 0)) })
	if !errors.Is(err, messages.ErrStreamCut) {
		t.Errorf("the reader's error is %v, want ErrStreamCut", err)
	}
	natstest.Eventually(t, time.Minute, "the source to be closed", func() error {
		select {
		case <-closed:
			return nil
		default:
			return errors.New("it is open")
		}
	})
	w.stop()
}

// closing tells when a source is closed.
type closing struct {
	io.ReadCloser
	done chan struct{}
}

func (c closing) Close() error {
	close(c.done)
	return c.ReadCloser.Close()
}
