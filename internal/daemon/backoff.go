package daemon

import (
	"context"
	"math/rand/v2"
	"time"
)

// The bounds of a BackOff whose fields are zero.
const (
	DefaultBackOffMin = time.Second
	DefaultBackOffMax = time.Minute
)

// BackOff yields growing pauses between attempts: Min, then twice as much each
// time, Max at most, each shortened at random by up to half, so that many nodes
// that failed together do not come back together. The zero value is usable. Not
// safe for concurrent use.
type BackOff struct {
	// Min and Max bound the pauses; zero means the defaults.
	Min, Max time.Duration

	next time.Duration
}

// Next is the pause to make before the coming attempt.
func (b *BackOff) Next() time.Duration {
	low, high := b.bounds()
	d := min(max(b.next, low), high)
	b.next = min(2*d, high)
	return d - rand.N(d/2+1)
}

// Reset makes the next pause the shortest again.
func (b *BackOff) Reset() { b.next = 0 }

// Wait makes the next pause. It ends early with the context's cause.
func (b *BackOff) Wait(ctx context.Context) error { return sleep(ctx, b.Next()) }

func (b *BackOff) bounds() (low, high time.Duration) {
	low, high = b.Min, b.Max
	if low <= 0 {
		low = DefaultBackOffMin
	}
	if high <= 0 {
		high = DefaultBackOffMax
	}
	return low, max(low, high)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
