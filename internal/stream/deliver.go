package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pgresync/pgresync/messages"
)

// delivery is one part that is being fetched, or the reason why no more will come.
type delivery struct {
	block block
	err   chan error // one
}

// follow fetches what is announced and hands it to the sink in order. While the
// last chunks of a part are on their way, the next part's are asked for, and its
// successor's announcement is, so that none of these round trips is waited for. It
// returns io.EOF after a valid end, and else an error that wraps
// messages.ErrStreamCut, or that of ctx.
func (s *session) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	queue := make(chan delivery, buffers+1) // a buffer each, and the end: nobody waits to put one in
	wg.Go(func() { s.fetchAll(ctx, queue) })
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case d := <-queue:
			if err := s.deliver(ctx, d); errors.Is(err, io.EOF) {
				return io.EOF
			} else if err != nil {
				return cut(ctx, err)
			}
		}
	}
}

// fetchAll starts to fetch each part that is announced, as buffers become free,
// and returns when all of that has ended.
func (s *session) fetchAll(ctx context.Context, queue chan<- delivery) {
	var fetching sync.WaitGroup
	defer fetching.Wait()
	before := newFirstTurn()
	err := s.announced(ctx, func(ctx context.Context, part *messages.Part) error {
		var buf []byte
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case buf = <-s.free:
		}
		if uint64(cap(buf)) < part.Size {
			buf = make([]byte, part.Size)
		}
		d := delivery{block{index: part.Index, data: buf[:part.Size]}, make(chan error, 1)}
		last, own := before, newTurn()
		fetching.Go(func() { d.err <- s.fetchInTurn(ctx, part, d.block.data, last, own) })
		before = own
		queue <- d
		return nil
	})
	end := delivery{err: make(chan error, 1)}
	end.err <- err
	queue <- end
}

func (s *session) deliver(ctx context.Context, d delivery) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-d.err:
		if err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case s.ready <- d.block:
		return nil
	}
}

func (s *session) fetchInTurn(ctx context.Context, part *messages.Part, buf []byte, before, own *turn) error {
	if err := await(ctx, before.sent); err != nil {
		return err
	}
	if err := s.fetchPart(ctx, part, buf, own.pass); err != nil {
		return fmt.Errorf("part %s: %w", part.Object, err)
	}
	s.r.totals.moved(len(buf))
	return nil
}

// fetchPart repeats: a few times when what is stored is bad, since a server
// that is recovering may not show all of it yet; as long as patience lasts when
// the way is.
func (s *session) fetchPart(ctx context.Context, part *messages.Part, buf []byte, asked func()) error {
	var b backoff
	patience := newPatience(s.r.cfg, s.r.js.Conn())
	bad := 0
	for {
		err := s.fetch.fetch(ctx, part, buf, asked)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrBadPart) {
			bad++
		}
		if bad > refetches {
			return err
		}
		if err := patience.check(err); err != nil {
			return err
		}
		s.refetches.Add(1)
		s.r.totals.retries.Add(1)
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}
