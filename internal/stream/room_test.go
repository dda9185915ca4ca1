package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// operatorsStreams makes bucket and announcements as an operator may: without a
// limit of their own, so that the server's is what they meet.
func operatorsStreams(t *testing.T, js jetstream.JetStream, ns messages.Subjects) {
	t.Helper()
	for _, cfg := range []jetstream.StreamConfig{
		{
			Name: "OBJ_" + ns.Bucket(), Subjects: []string{"$O." + ns.Bucket() + ".C.>", "$O." + ns.Bucket() + ".M.>"},
			Discard: jetstream.DiscardNew, AllowRollup: true, AllowDirect: true,
		},
		{Name: ns.PartsStream(), Subjects: []string{ns.Parts()}, Discard: jetstream.DiscardNew},
		{Name: "FOREIGN", Subjects: []string{"foreign"}},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
}

// The server's disk is full of something else: zfs send waits, and nothing else
// happens to anybody. When there is room again it goes on where it was.
func TestFullServerPausesTheSourceAndNothingElse(t *testing.T) {
	server := natstest.Run(t, func(o *natsserver.Options) { o.JetStreamMaxStore = 2 * mib })
	js := server.JetStream(t)
	operatorsStreams(t, js, messages.Subjects{Cluster: "main"})
	w := startWorld(t, server, func(c *stream.Config) { c.Provision = false })
	o := &opener{data: noise(12*w.cfg.PartSize, 1), gate: make(chan struct{})}
	rec := w.join(2, "db2", o.open)
	fillServer(t, js)
	close(o.gate)
	var got []byte
	_, err := w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		natstest.Eventually(t, 20*time.Second, "the record to name the trouble", func() error {
			if s := w.hub.Streams(); len(s) != 1 || !strings.Contains(s[0].Error, "insufficient") {
				return fmt.Errorf("records are %+v", s)
			}
			return nil
		})
		if n, most := o.source().read.Load(), int64(3*w.cfg.PartSize); n > most || o.source().close.Load() > 0 {
			t.Errorf("%d bytes were read, want %d at most; the source was closed %d times", n, most, o.source().close.Load())
		}
		if s := w.hub.Streams()[0]; s.State != messages.StreamRunning || len(s.Readers) != 1 {
			t.Errorf("state is %s with readers %s", s.State, s.Readers)
		}
		foreign, err := js.Stream(t.Context(), "FOREIGN")
		if err != nil {
			return err
		}
		if err := foreign.Purge(t.Context()); err != nil {
			return err
		}
		got, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
	if n := o.count.Load(); n != 1 {
		t.Errorf("the source was opened %d times, want once", n)
	}
}

// fillServer stores until the server refuses. Its own words for that depend on
// what ran out: 10023 and 10047.
func fillServer(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for range 100 {
		_, err := js.Publish(t.Context(), "foreign", make([]byte, 64*kib))
		var refused *jetstream.APIError
		if errors.As(err, &refused) && (refused.ErrorCode == 10023 || refused.ErrorCode == 10047) {
			return
		}
		if err != nil {
			t.Fatalf("fill the server: %v", err)
		}
	}
	t.Fatal("the server took 6 MiB, its limit is 2")
}

// However often a reader is cut, what is published twice is at most one window for
// each cut: what it has not consumed. (What zfs recv had consumed and its token
// does not cover comes on top; that is tested in the lab.)
func TestWhatIsSentTwiceIsAtMostOneWindow(t *testing.T) {
	w := newWorld(t, nil)
	var published atomic.Int64
	sub, err := w.server.Connect(t).Subscribe("$O."+w.ns.Bucket()+".C.>", func(m *nats.Msg) { published.Add(int64(len(m.Data))) })
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	size := int64(40 * w.cfg.PartSize)
	var at int64 // the token
	for i, cut := range []int64{100, 5*int64(w.cfg.PartSize) - 1, 9*int64(w.cfg.PartSize) + 7, 20 * int64(w.cfg.PartSize), size} {
		s := spec(2, 0)
		s.Stream, s.Resumed = messages.NewStreamID(2, 1, messages.FlagsPlain, messages.ResumeToken(fmt.Sprintf("1-%d", i))), i > 0
		before, began := published.Load(), at
		var read atomic.Int64
		rec, err := w.hub.Join(t.Context(), s, "db2", openContent(1, size, at, &read))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.reader().Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
			if cut == size {
				return expect(r, newContent(1, size, at))
			}
			n, err := io.CopyN(io.Discard, r, cut-at)
			at += n
			if err != nil {
				return err
			}
			natstest.Eventually(t, 10*time.Second, "the window to fill", func() error {
				if s := w.hub.Streams(); !s[len(s)-1].Paused {
					return errors.New("not full")
				}
				return nil
			})
			return io.ErrClosedPipe // the connection, say
		})
		if cut == size {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("cut at byte %d: %v", cut, err)
		}
		natstest.Eventually(t, 10*time.Second, "the upload to end", func() error {
			if n := len(w.hub.Streams()); n > 0 {
				return fmt.Errorf("%d run", n)
			}
			return nil
		})
		if twice := published.Load() - before - (at - began); twice <= 0 || twice > int64(w.cfg.Window) {
			t.Errorf("cut at byte %d: %d bytes were published beyond, want some and at most the window, %d", cut, twice, w.cfg.Window)
		}
	}
	if n, most := published.Load(), size+4*int64(w.cfg.Window); n > most {
		t.Errorf("%d bytes were published for %d and four cuts, want at most %d", n, size, most)
	}
}
