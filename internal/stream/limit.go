package stream

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds what a sidecar moves, over all its streams: they wait their
// turns for one chunk each. A nil limiter does not.
type limiter struct {
	bucket *rate.Limiter
	burst  int
}

// burstTime is how much may move at once after a pause.
const burstTime = 250 * time.Millisecond

// newLimiter lets bytes through in one second; at least one chunk at a time.
func newLimiter(bytes uint64, chunk int) *limiter {
	if bytes == 0 {
		return nil
	}
	burst := max(int(float64(bytes)*burstTime.Seconds()), chunk)
	return &limiter{bucket: rate.NewLimiter(rate.Limit(bytes), burst), burst: burst}
}

// wait returns when n bytes may move, or when ctx is done.
func (l *limiter) wait(ctx context.Context, n int) error {
	for l != nil && n > 0 {
		step := min(n, l.burst)
		if err := l.bucket.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}

// cap is the most that should be asked for at a time: what is on its way cannot
// be held back any more.
func (l *limiter) cap(bytes int) int {
	if l == nil {
		return bytes
	}
	return min(bytes, l.burst)
}
