package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
)

// KeepOptions shape a supervised loop; the zero value is usable.
type KeepOptions struct {
	// BackOff is the pause between attempts.
	BackOff BackOff
	// Settled is how long an attempt must run to count as recovered; 30 s when
	// zero.
	Settled time.Duration
	// Interval is the least time between two log lines about a loop that keeps
	// failing; 5 min when zero.
	Interval time.Duration
}

const (
	defaultSettled  = 30 * time.Second
	defaultInterval = 5 * time.Minute
)

// Keep runs f until ctx is cancelled, f returns nil, or f returns a permanent
// error (see IsPermanent), which it returns; the first two yield nil. After any
// other error it pauses and runs f again. f gets ctx and must return when that is
// cancelled: Keep waits for it.
//
// The first failure is logged, then one line per interval, then one line when f
// has run for a while again; a broker that is down for a night must not fill a
// disk with logs.
func Keep(ctx context.Context, log zerolog.Logger, name string, f func(context.Context) error, opts KeepOptions) error {
	k := keeper{log: log.With().Str(KeyLoop, name).Logger(), opts: opts}
	if k.opts.Settled <= 0 {
		k.opts.Settled = defaultSettled
	}
	if k.opts.Interval <= 0 {
		k.opts.Interval = defaultInterval
	}
	for !cancelled(ctx) {
		err := k.attempt(ctx, f)
		switch {
		case cancelled(ctx):
			return nil
		case err == nil:
			k.recovered()
			return nil
		case IsPermanent(err):
			return err
		}
		pause := k.opts.BackOff.Next()
		k.failed(err, pause)
		_ = sleep(ctx, pause) // the condition of the loop sees a cancelled context
	}
	return nil
}

func cancelled(ctx context.Context) bool { return ctx.Err() != nil }

// keeper is the state of one Keep, used by its goroutine only.
type keeper struct {
	log      zerolog.Logger
	opts     KeepOptions
	failures int
	logged   time.Time
}

// attempt runs f once and notices on the way that it has settled.
func (k *keeper) attempt(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	settled := time.NewTimer(k.opts.Settled)
	defer settled.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-settled.C:
			k.recovered()
		}
	}
}

func (k *keeper) failed(err error, pause time.Duration) {
	k.failures++
	now := time.Now()
	if k.failures > 1 && now.Sub(k.logged) < k.opts.Interval {
		return
	}
	k.logged = now
	k.log.Warn().Err(err).Int(KeyFailures, k.failures).Stringer(KeyRetryIn, pause.Round(time.Millisecond)).Msg("loop failed; it will be restarted")
}

func (k *keeper) recovered() {
	if k.failures > 0 {
		k.log.Info().Int(KeyFailures, k.failures).Msg("loop recovered")
	}
	k.failures = 0
	k.opts.BackOff.Reset()
}

// Permanent marks err as one that no repetition cures; nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error   { return e.error }
func (e *permanentError) Retryable() bool { return false }

// IsPermanent reports whether err, or the first error in its chain that has an
// opinion, says by a method Retryable() bool that trying again is no use.
func IsPermanent(err error) bool {
	var r interface{ Retryable() bool }
	return errors.As(err, &r) && !r.Retryable()
}
