package world

import (
	"context"
	"fmt"
	"time"
)

// patience is how long is waited for what takes a moment: the processor may have much
// else to do.
const patience = 5 * time.Minute

// Until polls check until it reports true. The error names what was waited for and
// the detail that check gave last. limit is for native speed on an idle machine or
// an emulated one alike: generous, since it is only reached in failure.
func Until(ctx context.Context, what string, limit time.Duration, check func(ctx context.Context) (ok bool, detail string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := time.NewTimer(0)
	defer pause.Stop()
	var detail string
	for {
		began := time.Now()
		ok, now := check(ctx)
		if ok {
			return nil
		}
		// A look that the limit cut short tells nothing.
		if ctx.Err() == nil || detail == "" {
			detail = now
		}
		pause.Reset(pauseAfter(time.Since(began)))
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w; last seen: %s", limit, what, context.Cause(ctx), detail)
		case <-pause.C:
		}
	}
}

// pauseAfter has looks take a quarter of the time at most: each may be a process or
// two, which in an emulated machine is work that what is waited for has to wait for.
func pauseAfter(took time.Duration) time.Duration {
	return min(max(3*took, 100*time.Millisecond), 15*time.Second)
}
