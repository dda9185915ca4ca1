package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
)

// A server works on requests side by side: the removal of a consumer that was
// asked for before its creation was answered may overtake it, and then the
// consumer stays for half a minute.
func TestNoConsumerIsRemovedBeforeItsCreationIsAnswered(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(40*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wire := &wire{asked: cancel}
	conn := w.server.Connect(t, append(stream.ConnectOptions(), nats.SetCustomDialer(wire))...)
	reader, err := stream.NewReader(natstest.JetStream(t, conn), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Read(ctx, rec, "db2", nil, func(ctx context.Context, _ io.Reader) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
	if !wire.answered.Load() || wire.early.Load() {
		t.Errorf("creation answered: %t, removal asked for before: %t", wire.answered.Load(), wire.early.Load())
	}
	w.eventuallyEmpty()
}

// A consumer whose creation was not answered is nobody's, and goes all the same.
func TestConsumerOfNobodyGoesWithTheUpload(t *testing.T) {
	w := newWorld(t, func(c *stream.Config) { c.Linger = time.Nanosecond })
	o := &opener{data: noise(4*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	_, err := w.js.CreateConsumer(t.Context(), w.ns.PartsStream(), jetstream.ConsumerConfig{
		Durable:       "part_" + string(rec.Attempt) + "_db3_X",
		FilterSubject: w.ns.StreamParts(rec.Stream, rec.Attempt),
		AckPolicy:     jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.read(rec, "db2"); err != nil {
		t.Fatal(err)
	}
	w.eventuallyEmpty()
}

// wire delays what the server sends after a consumer of the bucket was asked for.
type wire struct {
	asked           func() // called then
	once            sync.Once
	late            atomic.Pointer[time.Timer]
	answered, early atomic.Bool
}

// Dial implements nats.CustomDialer.
func (w *wire) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &wiredConn{conn, w}, err
}

type wiredConn struct {
	net.Conn
	*wire
}

func (c *wiredConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("$JS.API.CONSUMER.DELETE.OBJ_")) && !c.answered.Load() {
		c.early.Store(true)
	}
	if bytes.Contains(p, []byte("$JS.API.CONSUMER.CREATE.OBJ_")) {
		c.once.Do(func() {
			c.late.Store(time.NewTimer(50 * time.Millisecond))
			c.asked()
		})
	}
	return c.Conn.Write(p)
}

func (c *wiredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if late := c.late.Swap(nil); late != nil {
		<-late.C
		c.answered.Store(true)
	}
	return n, err
}
