package world

import (
	"context"
	"fmt"
	"time"
)

// Until polls check until it reports true. The error names what was waited for and
// the detail that check gave last. limit is for native speed on an idle machine or
// an emulated one alike: generous, since it is only reached in failure.
func Until(ctx context.Context, what string, limit time.Duration, check func(ctx context.Context) (ok bool, detail string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var detail string
	for {
		ok, now := check(ctx)
		if ok {
			return nil
		}
		// A look that the limit cut short tells nothing.
		if ctx.Err() == nil || detail == "" {
			detail = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w; last seen: %s", limit, what, context.Cause(ctx), detail)
		case <-tick.C:
		}
	}
}
