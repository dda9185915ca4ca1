package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
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

// patience measures how long nothing has happened.
type patience struct {
	limit time.Duration
	last  time.Time
}

func newPatience(limit time.Duration) *patience { return &patience{limit: limit, last: time.Now()} }

func (p *patience) progress() { p.last = time.Now() }

// check is an error that wraps cause when the limit was passed.
func (p *patience) check(cause error) error {
	if idle := time.Since(p.last); idle > p.limit {
		return fmt.Errorf("no progress for %s: %w", idle.Round(time.Second), cause)
	}
	return nil
}
