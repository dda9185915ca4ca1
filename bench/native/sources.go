package main

import (
	"context"
	"io"
	"time"
)

// gate keeps a source shut until every reader is attached.
type gate struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // of the upload, which the source belongs to
	open <-chan struct{}
}

func (g *gate) Read(p []byte) (int, error) {
	select {
	case <-g.ctx.Done():
		return 0, context.Cause(g.ctx)
	case <-g.open:
		return g.ReadCloser.Read(p)
	}
}

// paced is a source of a constant rate, as a disk or zfs send would be.
type paced struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the upload, which the source belongs to
	rate  float64         // bytes per second
	began time.Time
	given float64
}

func (p *paced) Read(b []byte) (int, error) {
	if p.began.IsZero() {
		p.began = time.Now()
	}
	due := p.began.Add(time.Duration(p.given / p.rate * float64(time.Second)))
	if ahead := time.Until(due); ahead > time.Millisecond {
		t := time.NewTimer(ahead)
		defer t.Stop()
		select {
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		case <-t.C:
		}
	}
	n, err := p.ReadCloser.Read(b[:min(len(b), block)])
	p.given += float64(n)
	return n, err
}
