package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// backoff doubles from first to limit, with jitter so that the nodes of a
// cluster do not come back in step.
type backoff struct{ first, limit, next time.Duration }

func newBackoff(first, limit time.Duration) *backoff {
	return &backoff{first: first, limit: limit, next: first}
}

func (b *backoff) reset() { b.next = b.first }

// sleep waits for the next step, or until ctx is done, whose error it returns.
func (b *backoff) sleep(ctx context.Context) error {
	d := b.next/2 + rand.N(b.next)
	b.next = min(2*b.next, b.limit)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// retry repeats f while the server does not answer, until ctx is done or bound
// has passed. Each attempt has callTimeout.
func (b *Bus) retry(ctx context.Context, bound time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	wait := newBackoff(100*time.Millisecond, 2*time.Second)
	for {
		err := b.try(ctx, f)
		if err == nil || !errors.Is(err, messages.ErrUnavailable) {
			return err
		}
		if wait.sleep(ctx) != nil {
			return err
		}
	}
}

// throttle reports the first of a row of equal errors, and again once a minute.
type throttle struct {
	report func(error)
	last   string
	at     time.Time
}

func newThrottle(report func(error)) *throttle { return &throttle{report: report} }

func (t *throttle) reset() { t.last = "" }

func (t *throttle) error(err error) {
	if text := err.Error(); text != t.last || time.Since(t.at) > time.Minute {
		t.last, t.at = text, time.Now()
		t.report(err)
	}
}
