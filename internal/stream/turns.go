package stream

import (
	"cmp"
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// underWay is how many parts of one upload are: while one is checked, described
// and announced, the chunks of the next are sent. That takes round trips, which on
// a long line are most of the time of a part.
const underWay = 2

// turn is one part's place in the order of parts.
type turn struct {
	sent      chan struct{} // closed when all chunks were sent, acknowledged or not
	announced chan struct{} // closed when readers were told
	once      sync.Once
}

func newTurn() *turn { return &turn{sent: make(chan struct{}), announced: make(chan struct{})} }

// pass lets the next part send.
func (t *turn) pass() { t.once.Do(func() { close(t.sent) }) }

func newFirstTurn() *turn {
	t := newTurn()
	t.pass()
	close(t.announced)
	return t
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-done:
		return nil
	}
}

func (u *upload) storeAll(ctx context.Context, p *pump) error {
	var purging sync.WaitGroup
	defer purging.Wait()
	defer close(u.victims)
	purging.Go(func() { u.purgeAll(ctx) })
	g, storing := errgroup.WithContext(ctx)
	g.SetLimit(underWay)
	err := u.storeEach(storing, g, p)
	return cmp.Or(g.Wait(), err)
}

func (u *upload) storeEach(ctx context.Context, g *errgroup.Group, p *pump) error {
	before := newFirstTurn()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case pc, ok := <-p.pieces:
			if !ok {
				return p.err
			}
			if err := u.reserve(ctx, uint64(len(pc.data))); err != nil {
				return err
			}
			last, own := before, newTurn()
			g.Go(func() error {
				defer p.giveBack(pc)
				return u.storePiece(ctx, pc, last, own)
			})
			before = own
		}
	}
}

// storePiece stores at once, and announces when its predecessor was and the source
// is known to have lived on. In this order: the end of the source is no reason to
// give up a part before the last.
func (u *upload) storePiece(ctx context.Context, pc *piece, before, own *turn) error {
	err := await(ctx, before.sent)
	if err != nil {
		return err
	}
	part, err := u.upload(ctx, pc, own.pass)
	if err == nil {
		err = await(ctx, before.announced)
	}
	if err == nil {
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case err = <-pc.confirmed:
		}
	}
	if err == nil {
		err = u.announce(ctx, part)
	}
	if err != nil {
		u.giveUp(leftover{object: part.Object, nuid: part.Nuid})
		return err
	}
	close(own.announced)
	u.sweepGarbage(ctx, true)
	return nil
}
