package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// backoff waits ever longer, with jitter, so that uploads and readers that
// lost the same server do not come back in step.
type backoff struct{ next time.Duration }

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 5 * time.Second
)

// wait returns false when ctx was done before the time was over.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, backoffMin), backoffMax)
	return pause(ctx, b.next/2+rand.N(b.next/2+1))
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// patience measures how long nothing has happened: with a connection, and apart
// from that without one, which is nobody's fault and cannot be waited out anywhere
// else.
type patience struct {
	cfg       Config
	connected func() bool
	last      time.Time     // when time was counted last
	was       bool          // connected at that time
	idle, cut time.Duration // since the last progress
}

func newPatience(cfg Config, conn *nats.Conn) *patience {
	return &patience{cfg: cfg, connected: conn.IsConnected, last: time.Now(), was: true}
}

func (p *patience) progress() { p.last, p.idle, p.cut = time.Now(), 0, 0 }

// check is an error that wraps cause when a limit was passed.
func (p *patience) check(cause error) error {
	elapsed := time.Since(p.last)
	p.last = p.last.Add(elapsed)
	is := p.connected()
	if is && p.was {
		p.idle += elapsed
	} else {
		p.cut += elapsed
	}
	p.was = is
	if p.idle > p.cfg.StallTimeout {
		return fmt.Errorf("no progress for %s: %w", p.idle.Round(time.Second), cause)
	}
	if p.cut > p.cfg.CutTimeout {
		return fmt.Errorf("no connection for %s: %w", p.cut.Round(time.Second), cause)
	}
	return nil
}
