package stream

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Spec says what an upload sends. Everything that determines the bytes is in
// Stream; the rest describes.
type Spec struct {
	Stream messages.StreamID
	// Node is the publisher.
	Node     messages.NodeName
	Dataset  messages.RelName
	To, From messages.GUID
	Flags    messages.SendFlags
	// Recipients are the keys that the source is encrypted to.
	Recipients []string
	// Resumed: the source continues a partial receive.
	Resumed bool
	// Estimate is the stream's size in bytes; 0 when unknown.
	Estimate uint64
	Lease    uint64
	// Not is an attempt that the reader could not use, because a part of it was bad
	// for good, say. It is not joined again, by nobody.
	Not messages.MessageID
}

// Hub owns the uploads of one publisher. It is safe for concurrent use.
type Hub struct {
	store    *Store
	onChange func(messages.StreamRecord)
	starts   chan *upload
	stopped  chan struct{}

	mu      sync.Mutex
	uploads []*upload // oldest first
	queue   queue
	changed chan struct{}
}

// HubOption changes a Hub.
type HubOption func(*Hub)

// OnChange has f called with the record of an upload whenever it, its readers
// or its trouble changed, and about once a second while it makes progress. The
// calls of one upload do not overlap and come in order; f holds the upload up,
// so it has to bound its own time.
func OnChange(f func(messages.StreamRecord)) HubOption {
	return func(h *Hub) { h.onChange = f }
}

// NewHub makes a hub on a store that is, or will be, provisioned.
func NewHub(store *Store, opts ...HubOption) *Hub {
	h := &Hub{store: store, starts: make(chan *upload), stopped: make(chan struct{}), changed: make(chan struct{})}
	for _, o := range opts {
		o(h)
	}
	return h
}

// Run owns the uploads' goroutines, and returns nil after ctx is done and they
// have ended. Call it once.
func (h *Hub) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(h.stopped)
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-h.starts:
			wg.Go(func() {
				u.run(ctx)
				h.drop(u)
			})
		}
	}
}

// Join attaches reader to the stream's upload: the one that is running or
// lingering, if its part 0 is still there, otherwise a new attempt, for which
// open is called once. The record that is returned is what the reader has to
// pass to Reader.Read.
//
// The context that open gets is the upload's and outlives Join; when it is
// done, a blocked Read of the source has to return. The source has to return
// io.EOF only if it succeeded. Close is called once, at the end or, to end a
// blocked Read, beside it; after io.EOF its error fails the stream.
//
// When all places (Config.MaxUploads) are taken by uploads in use, Join waits
// for one until ctx is done, first come first served; its error wraps
// messages.ErrQueued and messages.ErrUnavailable then, and a reader that joins
// again soon finds its place in the queue. ErrUnavailable alone says that the hub
// is not running, or that JetStream has lost what a stream needs.
//
// A node receives a dataset once at a time: by joining a stream of a dataset it
// leaves all others of the same dataset.
func (h *Hub) Join(ctx context.Context, spec Spec, reader messages.NodeName,
	open func(ctx context.Context) (io.ReadCloser, error),
) (messages.StreamRecord, error) {
	// Before there is a place: what the reader left behind may be what takes it.
	h.leaveOthers(ctx, spec, reader, nil)
	// A server may have lost its store since the start, and with it all that is uploaded.
	if err := h.store.recreate(ctx); err != nil {
		return messages.StreamRecord{}, fmt.Errorf("join stream %s: %w", spec.Stream, err)
	}
	u, err := h.claim(ctx, spec, reader, open)
	if err != nil {
		return messages.StreamRecord{}, fmt.Errorf("join stream %s: %w", spec.Stream, err)
	}
	defer u.unpin()
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-u.opened:
		if err = u.openErr; err == nil {
			err = u.attach(ctx, reader)
		}
	}
	if err != nil {
		return messages.StreamRecord{}, fmt.Errorf("join stream %s: %w", spec.Stream, err)
	}
	h.leaveOthers(ctx, spec, reader, u)
	rec := u.record()
	rec.Consumer = u.consumerOf(reader)
	return rec, nil
}

// claim finds or starts an upload and pins it.
func (h *Hub) claim(ctx context.Context, spec Spec, reader messages.NodeName, open func(context.Context) (io.ReadCloser, error)) (*upload, error) {
	fresh := newUpload(h.store, spec, open, h.onChange)
	if err := fresh.rec.Validate(); err != nil {
		return nil, err
	}
	defer h.stopWaiting(fresh)
	who := waiter{reader, spec.Dataset}
	for {
		u, wait := h.place(fresh, who)
		switch {
		case u == fresh:
			return u, h.start(ctx, u)
		case u != nil && (u.spec.To != spec.To || u.spec.From != spec.From || u.spec.Flags != spec.Flags):
			u.unpin()
			return nil, fmt.Errorf("upload %s of the same stream has other snapshots or flags", u.attempt())
		case u != nil:
			return u, nil
		}
		select {
		case <-wait:
		case <-h.stopped:
			return nil, errStopped
		case <-ctx.Done():
			h.stepOut(fresh)
			return nil, fmt.Errorf("%w: %w: all %d uploads allowed are in use: %w",
				messages.ErrUnavailable, messages.ErrQueued, h.store.cfg.MaxUploads, context.Cause(ctx))
		}
	}
}

var errStopped = fmt.Errorf("%w: the publisher has stopped", messages.ErrUnavailable)

// place returns a pinned upload of the same stream, or fresh if there is
// room; otherwise it makes room if it can, and returns what to wait for.
func (h *Hub) place(fresh *upload, who waiter) (*upload, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range slices.Backward(h.uploads) {
		if u.spec.Stream == fresh.spec.Stream && !u.closedFor(fresh.spec.Not) && u.pin() {
			return u, nil
		}
	}
	h.queue.enter(who, fresh, time.Now())
	if h.queue.first() != fresh {
		return nil, h.changed
	}
	if len(h.uploads) < h.store.cfg.MaxUploads {
		h.uploads = append(h.uploads, fresh)
		return fresh, nil
	}
	// The oldest that everybody has read goes; if there is none, none shall linger.
	if !slices.ContainsFunc(h.uploads, func(u *upload) bool { return u.evict(true) }) {
		for _, u := range h.uploads {
			u.evict(false)
		}
	}
	return nil, h.changed
}

func (h *Hub) start(ctx context.Context, u *upload) error {
	select {
	case h.starts <- u:
		return nil
	case <-h.stopped:
		h.drop(u)
		return errStopped
	case <-ctx.Done():
		h.drop(u)
		return fmt.Errorf("%w: the publisher is not running: %w", messages.ErrUnavailable, context.Cause(ctx))
	}
}

func (h *Hub) drop(u *upload) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploads = slices.DeleteFunc(h.uploads, func(v *upload) bool { return v == u })
	h.broadcast()
}

// stopWaiting lets the next in the queue have a look.
func (h *Hub) stopWaiting(u *upload) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue.leave(u)
	h.broadcast()
}

// stepOut keeps the place of a join whose time was over.
func (h *Hub) stepOut(u *upload) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue.stepOut(u, time.Now())
}

// broadcast wakes those who wait for a place; the caller holds mu.
func (h *Hub) broadcast() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// leaveOthers detaches a reader from the dataset's other uploads, lest they wait
// for it: a reader that was cut off comes back with another stream, which goes on
// from its token. The same stream's uploads are kept as long as it is not known
// which of them is joined.
func (h *Hub) leaveOthers(ctx context.Context, spec Spec, reader messages.NodeName, joined *upload) {
	for _, u := range h.list() {
		if u != joined && u.spec.Dataset == spec.Dataset && (joined != nil || u.spec.Stream != spec.Stream) {
			u.detach(ctx, reader, u.consumerOf(reader))
		}
	}
}

func (h *Hub) list() []*upload {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.uploads)
}

// Streams lists the uploads, oldest first.
func (h *Hub) Streams() []messages.StreamRecord {
	var out []messages.StreamRecord
	for _, u := range h.list() {
		out = append(out, u.record())
	}
	return out
}

// Waiting is how many joins wait for a place.
func (h *Hub) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue.len()
}
