package stream

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/pgresync/pgresync/messages"
)

// upload is one attempt: one run of the source, stored, announced, and kept
// until its readers have it. Its goroutines are run's.
type upload struct {
	store *Store
	spec  Spec
	open  func(context.Context) (io.ReadCloser, error)
	tell  func(messages.StreamRecord)

	// opened is closed when open has returned; openErr is valid then.
	opened  chan struct{}
	openErr error
	// nudged wakes the minder; it holds one hint.
	nudged chan struct{}

	telling sync.Mutex // orders the calls of tell
	toldAt  time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of what follows
	rec     messages.StreamRecord
	ledger  ledger
	readers map[messages.NodeName]*attached
	pins    int // joins under way; they hold part 0 in place
	nuids   []string
	garbage []leftover
	chain   string
	endSeq  uint64 // 0 until the end was published
	evicted bool   // another upload wants the place
	over    bool   // nobody may join any more
}

// leftover is an object that was given up and may have chunks in flight.
type leftover struct{ object, nuid string }

// run returns when nothing of the upload is left to do, or soon after ctx is
// done. What a stopped publisher leaves in the bucket is removed by the next
// one's sweep: until then readers may finish the parts they were told of.
func (u *upload) run(ctx context.Context) {
	minding, stop := context.WithCancel(ctx)
	transferring, abort := context.WithCancelCause(ctx)
	unsubscribe := u.answer()
	var wg sync.WaitGroup
	wg.Go(func() { u.mind(minding, abort) })
	err := u.transfer(transferring)
	abort(nil)
	u.finish(ctx, err)
	u.linger(ctx)
	stop()
	wg.Wait()
	unsubscribe()
	if ctx.Err() == nil {
		u.remove(ctx)
	}
}

// transfer opens the source and moves all of it.
func (u *upload) transfer(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	src, err := u.open(ctx)
	u.openErr = err
	close(u.opened)
	if err != nil {
		stop()
		return fmt.Errorf("open the source of stream %s: %w", u.spec.Stream, err)
	}
	// Closing ends a Read that is blocked in a pipe.
	closeSource := sync.OnceValue(src.Close)
	unhook := context.AfterFunc(ctx, func() { _ = closeSource() })
	p := newPump()
	var wg sync.WaitGroup
	wg.Go(func() { p.run(ctx, src, u.store.cfg.partSize(u.spec.Estimate), closeSource) })
	err = u.storeAll(ctx, p)
	stop()
	wg.Wait()
	unhook()
	_ = closeSource()
	return err
}

func (u *upload) storeAll(ctx context.Context, p *pump) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case pc, ok := <-p.pieces:
			if !ok {
				return p.err
			}
			if err := u.storePiece(ctx, pc); err != nil {
				return err
			}
			p.giveBack(pc)
		}
	}
}

// storePiece stores at once, and announces when the source is known to have
// lived on.
func (u *upload) storePiece(ctx context.Context, pc *piece) error {
	if err := u.reserve(ctx, uint64(len(pc.data))); err != nil {
		return err
	}
	part, err := u.upload(ctx, pc)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-pc.confirmed:
	}
	if err != nil {
		u.giveUp(leftover{part.Object, part.Nuid})
		return err
	}
	return u.announce(ctx, part)
}

// reserve waits until the window has room for size bytes. While it waits,
// nobody reads the source.
func (u *upload) reserve(ctx context.Context, size uint64) error {
	for {
		u.mu.Lock()
		victims, ok := u.ledger.makeRoom(size, uint64(u.store.cfg.Window), u.consumed()) //nolint:gosec // validated positive
		changed := u.changed
		u.mu.Unlock()
		if err := u.purge(ctx, victims); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// purge removes parts and announcements, and does not give up before ctx does.
func (u *upload) purge(ctx context.Context, parts []retained) error {
	for _, r := range parts {
		err := u.persist(ctx, func() error {
			if err := u.store.discard(ctx, r.part.Object, r.part.Nuid); err != nil {
				return err
			}
			return u.store.purge(ctx, u.store.ns.PartsStream(), u.store.ns.Part(u.spec.Stream, u.rec.Attempt, r.part.Index))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// upload stores one piece, however often it takes; the reason of each failure
// shows in the record.
func (u *upload) upload(ctx context.Context, pc *piece) (messages.Part, error) {
	part := messages.Part{
		V: messages.Version, Stream: u.spec.Stream, Attempt: u.rec.Attempt,
		Index: pc.index, Offset: pc.offset, Size: uint64(len(pc.data)),
		Object: messages.PartObject(u.spec.Stream, u.rec.Attempt, pc.index),
		SHA256: hex.EncodeToString(pc.sum[:]),
	}
	u.sweepGarbage(ctx, true)
	err := u.persist(ctx, func() (err error) {
		u.sweepGarbage(ctx, false)
		part.Nuid = u.newNuid()
		part.Chunks, err = u.store.put(ctx, part.Object, part.Nuid, pc.data, pc.sum)
		if err != nil {
			u.giveUp(leftover{part.Object, part.Nuid})
			u.sweepGarbage(ctx, false)
		}
		return err
	})
	return part, err
}

// newNuid registers the name before the first chunk carries it, so that no
// sweep takes the chunks for leftovers.
func (u *upload) newNuid() string {
	n := nuid.Next()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.nuids = append(u.nuids, n)
	return n
}

func (u *upload) giveUp(l leftover) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.garbage = append(u.garbage, l)
}

// sweepGarbage purges what was given up, and once more later, when it forgets
// it: the server stores chunks from a queue, which a purge may overtake.
func (u *upload) sweepGarbage(ctx context.Context, forget bool) {
	u.mu.Lock()
	garbage := slices.Clone(u.garbage)
	u.mu.Unlock()
	for _, g := range garbage {
		if err := u.store.discard(ctx, g.object, g.nuid); err != nil || !forget {
			continue
		}
		u.mu.Lock()
		u.garbage = slices.DeleteFunc(u.garbage, func(l leftover) bool { return l == g })
		u.mu.Unlock()
	}
}

func (u *upload) announce(ctx context.Context, part messages.Part) error {
	part.Chain = chain(u.chain, part.SHA256)
	var seq uint64
	err := u.persist(ctx, func() (err error) {
		seq, err = u.store.publish(ctx, u.store.ns.Part(part.Stream, part.Attempt, part.Index),
			fmt.Sprintf("%s-%d", part.Attempt, part.Index), &part)
		return err
	})
	if err != nil {
		return err
	}
	u.chain = part.Chain
	u.update(func() {
		u.ledger.announced(part, seq)
		u.rec.Parts = part.Index + 1
		u.rec.Sent = part.Offset + part.Size
	})
	u.report(false)
	return nil
}

// persist repeats f until it succeeds or ctx is done, and keeps the latest
// error in the record in between.
func (u *upload) persist(ctx context.Context, f func() error) error {
	var b backoff
	for {
		err := f()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && b != (backoff{}) {
			u.trouble("")
		}
		if err == nil || errors.Is(err, messages.ErrBadDocument) {
			return err
		}
		u.trouble(err.Error())
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}
