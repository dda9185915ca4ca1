package stream

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgresync/pgresync/internal/pace"
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

	// flight is shared by the parts that are under way.
	flight *flight
	// victims go to the purger; its bound is that it takes one at a time.
	victims chan retained
	// moves counts what keeps the watchdog quiet: reads of the source, stored parts.
	moves atomic.Uint64

	telling sync.Mutex // orders the calls of tell
	toldAt  time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of what follows
	rec     messages.StreamRecord
	meter   pace.Meter
	ledger  ledger
	readers map[messages.NodeName]*attached
	pins    int             // joins under way; they hold part 0 in place
	nuids   map[string]bool // of all that may have chunks in the bucket
	garbage []leftover
	careful int    // how many more parts are stored carefully
	chain   string // the announcers', who take turns
	endSeq  uint64 // 0 until the end was published
	evicted bool   // another upload wants the place
	over    bool   // nobody may join any more
	losses  uint64 // the store's when this began
}

// leftover is an object that was given up and may have chunks in flight;
// without a name, the chunks of a failed try.
type leftover struct {
	object, nuid string
	// settled: none of its chunks can be in flight any more.
	settled bool
}

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
	if ctx.Err() == nil && u.openErr == nil {
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
	wg.Go(func() { p.run(ctx, &counted{src, &u.moves}, u.store.cfg.partSize(u.spec.Estimate), closeSource) })
	err = u.storeAll(ctx, p)
	stop()
	wg.Wait()
	unhook()
	_ = closeSource()
	return err
}

// counted counts the reads that gave something.
type counted struct {
	io.Reader
	moves *atomic.Uint64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.moves.Add(1)
	}
	return n, err
}
