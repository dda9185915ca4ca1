package zfstest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// Streams through the data plane, cut and resumed: what the adapter promises of
// tokens and what package stream promises of its window hold together.
var cutTests = map[string]func(*T){
	"a seed that is cut anywhere sends a window twice at most": func(t *T) {
		from := t.data("from")
		t.Write(t, from, cutBytes)
		cutsAnywhere(t, from, t.spec(t.snap(from), ""))
	},
	"an increment that is cut anywhere sends a window twice at most": func(t *T) {
		from := t.data("from")
		t.Write(t, from, 100*kib)
		base := t.snap(from)
		t.Write(t, from, cutBytes)
		cutsAnywhere(t, from, t.spec(t.snap(from), base))
	},
}

const (
	cutBytes  = 24 * mib
	cutTimes  = 10
	cutWindow = 4 * mib
	// unsaved is what zfs recv may lose of what it was given: it saves whole records,
	// in batches (zfs_recv_write_batch_size, 1 MiB).
	unsaved = 2 * mib
)

// plane is a data plane in this process, with real ZFS or its fake at both ends.
type plane struct {
	t      *T
	hub    *stream.Hub
	reader *stream.Reader

	mu   sync.Mutex
	sent map[messages.MessageID]uint64
}

func newPlane(t *T) *plane {
	t.Helper()
	server := natstest.Run(t)
	cfg := stream.Config{Cluster: cluster, PartSize: mib, Window: cutWindow, Provision: true, Linger: time.Nanosecond}
	store, err := stream.NewStore(server.JetStream(t, stream.ConnectOptions()...), cfg)
	ok(t, err)
	ok(t, store.Provision(t.Context()))
	p := &plane{t: t, sent: map[messages.MessageID]uint64{}}
	p.hub = stream.NewHub(store, stream.OnChange(func(r messages.StreamRecord) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sent[r.Attempt] = r.Sent
	}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { ok(t, p.hub.Run(ctx)) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	p.reader, err = stream.NewReader(server.JetStream(t, stream.ConnectOptions()...), cfg)
	ok(t, err)
	return p
}

// transfer moves s, at most limit bytes if that is not negative, and returns how
// many bytes were uploaded for it.
func (p *plane) transfer(s messages.SendSpec, into messages.Dataset, limit int64) (uint64, error) {
	p.t.Helper()
	rec, err := p.hub.Join(p.t.Context(), stream.Spec{
		Stream: messages.NewStreamID(s.To, s.From, s.Flags, s.Token), Node: "db1", Dataset: "data",
		To: s.To, From: s.From, Flags: s.Flags, Resumed: s.Token != "",
	}, "db2", func(ctx context.Context) (io.ReadCloser, error) { return p.t.ZFS.Send(ctx, s) })
	ok(p.t, err)
	_, err = p.reader.Read(p.t.Context(), rec, "db2", nil, func(ctx context.Context, r io.Reader) error {
		if limit >= 0 {
			r = &cut{io.LimitReader(r, limit), errCut}
		}
		return p.t.ZFS.Receive(ctx, receiveOf(into, s), r)
	})
	natstest.Eventually(p.t, time.Minute, "the upload to end", func() error {
		if len(p.hub.Streams()) > 0 {
			return errors.New("it has not")
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[rec.Attempt], err
}

// cutsAnywhere receives s again and again, each time cut at another offset and gone
// on with.
func cutsAnywhere(t *T, from messages.Dataset, s messages.SendSpec) {
	t.Helper()
	p := newPlane(t)
	whole, err := p.transfer(s, t.destination(s, "whole"), -1)
	ok(t, err)
	times := cutTimes
	if !t.Real {
		times = 2
	}
	for i := range times {
		// Before the first byte of data there is nothing to go on with.
		at := int64(64*kib) + rand.Int64N(int64(whole)-64*kib)
		into := t.destination(s, messages.RelName("to "+string(rune('a'+i))))
		first, err := p.transfer(s, into, at)
		wantErr(t, err, errCut)
		rest := s
		rest.Token = t.info(into).Token
		if rest.Token == "" {
			t.Fatalf("cut at byte %d of %d: no token", at, whole)
		}
		second, err := p.transfer(rest, into, -1)
		ok(t, err)
		if got := t.guid(into.Snapshot(s.Target.Short())); got != s.To {
			t.Fatalf("received GUID %s, want %s", got, s.To)
		}
		diff(t, t.contentOf(into.Snapshot(s.Target.Short())), t.Content(t, from))
		twice := int64(first+second) - int64(whole)
		t.Logf("cut at byte %d of %d: %d and %d were sent, %d of them twice", at, whole, first, second, twice)
		if ahead := int64(first) - at; ahead > cutWindow || twice > cutWindow+unsaved {
			t.Errorf("cut at byte %d of %d: %d bytes were sent ahead and %d twice; the window has %d", at, whole, ahead, twice, cutWindow)
		}
	}
}

// destination is a place to receive s at, with the base if it needs one.
func (t *T) destination(s messages.SendSpec, name messages.RelName) messages.Dataset {
	t.Helper()
	into := t.Root.Child(name)
	if s.Base != "" {
		ok(t, t.transfer(t.spec(s.Base, ""), into, lineage, -1))
	}
	return into
}
