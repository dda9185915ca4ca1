package stream

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
)

// piece is one part's worth of the source, in one of the pump's buffers.
type piece struct {
	index  int
	offset uint64
	data   []byte
	sum    [sha256.Size]byte
	// confirmed receives nil once the source is known to have gone on after this
	// piece, or to have ended well; otherwise what ended it. Until then the piece may
	// hold the stream's last byte, and must not be announced.
	confirmed chan error
}

// pump cuts a source into pieces. It reads ahead as far as its buffers go, which
// are all there is, and give back returns one.
type pump struct {
	pieces chan *piece
	free   chan []byte
	// err is why the source ended, nil after a clean end; valid once pieces is closed.
	err error
}

func newPump() *pump {
	p := &pump{pieces: make(chan *piece), free: make(chan []byte, buffers)}
	for range buffers {
		p.free <- nil
	}
	return p
}

func (p *pump) giveBack(pc *piece) { p.free <- pc.data[:0] }

var errEmptySource = errors.New("the source ended well, without a byte")

// run reads src until it ends or ctx is done, and closes pieces. finish is
// called after a clean end of the source; its error makes the end unclean.
func (p *pump) run(ctx context.Context, src io.Reader, size int, finish func() error) {
	defer close(p.pieces)
	last := &piece{index: -1, confirmed: make(chan error, 1)}
	for {
		var buf []byte
		select {
		case <-ctx.Done():
			p.err = context.Cause(ctx)
			last.confirmed <- p.err
			return
		case buf = <-p.free:
		}
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		next := &piece{
			index: last.index + 1, offset: last.offset + uint64(len(last.data)),
			confirmed: make(chan error, 1),
		}
		err := next.fill(src, buf[:size], func() { last.confirmed <- nil })
		if errors.Is(err, io.EOF) {
			p.finish(ctx, last, next, finish)
			return
		}
		if err != nil {
			p.err = err
			if len(next.data) == 0 {
				last.confirmed <- err
			}
			return // what was read of next is dropped
		}
		if !p.hand(ctx, next) {
			return
		}
		last = next
	}
}

func (p *pump) finish(ctx context.Context, last, next *piece, finish func() error) {
	p.err = finish()
	if p.err == nil && next.index == 0 && len(next.data) == 0 {
		p.err = errEmptySource
	}
	if len(next.data) == 0 {
		last.confirmed <- p.err
		return
	}
	next.confirmed <- p.err
	p.hand(ctx, next)
}

func (p *pump) hand(ctx context.Context, pc *piece) bool {
	select {
	case p.pieces <- pc:
		return true
	case <-ctx.Done():
		p.err = context.Cause(ctx)
		return false
	}
}

// fill reads until buf is full, hashing while the bytes are in the cache, and
// calls first after the first byte. io.EOF is an error here: the piece may be
// short or empty then.
func (pc *piece) fill(src io.Reader, buf []byte, first func()) error {
	h := sha256.New()
	n := 0
	var err error
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		if m > 0 && n == 0 {
			first()
		}
		h.Write(buf[n : n+m])
		n += m
	}
	pc.data = buf[:n]
	h.Sum(pc.sum[:0])
	if n == len(buf) && !errors.Is(err, io.EOF) && err == nil {
		return nil
	}
	return err
}
