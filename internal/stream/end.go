package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// finish tells the readers how the source ended. An upload that failed cannot
// be joined any more.
func (u *upload) finish(ctx context.Context, cause error) {
	if cause != nil && ctx.Err() != nil {
		cause = errStopped
	}
	u.update(func() {
		u.rec.State, u.rec.Error = messages.StreamComplete, ""
		if cause != nil {
			u.rec.State, u.rec.Error, u.over = messages.StreamFailed, cause.Error(), true
		}
	})
	defer u.report(true)
	if u.openErr != nil {
		return // nobody was told of this attempt
	}
	end := messages.StreamEnd{
		V: messages.Version, Stream: u.spec.Stream, Attempt: u.attempt(),
		Parts: u.ledger.next, Chain: u.chain, Size: u.record().Sent,
		To: u.spec.To, From: u.spec.From,
	}
	if cause != nil {
		end.Error = cause.Error()
	}
	stopped := ctx.Err() != nil
	if stopped {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
	}
	seq, err := u.publishEnd(ctx, &end)
	switch {
	case err == nil:
		u.update(func() { u.endSeq = seq })
	case !stopped && ctx.Err() == nil:
		u.endless(ctx, err)
	}
}

// publishEnd does not wait for announcements that are gone: their readers' places
// are, too. It asks more than once, since a server that starts may not know its
// streams yet.
func (u *upload) publishEnd(ctx context.Context, end *messages.StreamEnd) (seq uint64, err error) {
	missing := 0
	err = u.persistAfterwards(ctx, func() (err error) {
		seq, err = u.store.publish(ctx, u.store.ns.StreamEnd(u.spec.Stream, u.attempt()), string(u.attempt())+"-end", end)
		if !u.store.lost(ctx, err) {
			missing = 0
		} else if missing++; missing >= goneThreshold {
			return fmt.Errorf("%w: %w", errGaveUp, err)
		}
		return err
	})
	return seq, err
}

// endless gives up an upload whose end cannot be told: no reader would ever learn that
// nothing more comes, and each side would take the other for alive.
func (u *upload) endless(ctx context.Context, why error) {
	readers := map[messages.NodeName]string{}
	u.update(func() {
		u.over = true
		u.endSeq = math.MaxUint64 // who was joining meanwhile does not reach it, and is detached for standing still
		if u.rec.State == messages.StreamComplete {
			u.rec.State, u.rec.Error = messages.StreamFailed, "its end cannot be told: "+why.Error()
		}
		for node, r := range u.readers {
			readers[node] = r.consumer
		}
	})
	for node, name := range readers {
		u.detach(ctx, node, name)
	}
}

// linger waits until every reader took the end, and then, if the stream is
// complete, for latecomers. Afterwards nobody can join.
func (u *upload) linger(ctx context.Context) {
	timer := time.NewTimer(u.store.cfg.Linger)
	defer timer.Stop()
	expired := false
	for ctx.Err() == nil {
		u.mu.Lock()
		wanted := !u.over && !expired && !u.evicted && u.ledger.joinable()
		if !wanted && u.pins == 0 && u.allEnded() {
			u.over = true
			u.mu.Unlock()
			return
		}
		changed := u.changed
		u.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
			expired = true
		}
	}
}

// allEnded: the caller holds mu.
func (u *upload) allEnded() bool {
	for _, r := range u.readers {
		if !r.ended {
			return false
		}
	}
	return true
}

// evict forbids to linger: at once, if everybody has read the upload;
// otherwise, unless it has to be idle, when everybody has.
func (u *upload) evict(idle bool) (ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if idle && (u.rec.State == messages.StreamRunning || u.pins > 0 || !u.allEnded()) {
		return false
	}
	u.evicted = true
	u.broadcast()
	return true
}

// remove takes everything of the upload out of JetStream. What it cannot remove in
// time is left to the next sweep.
func (u *upload) remove(ctx context.Context) {
	u.mu.Lock()
	parts := u.ledger.parts
	u.mu.Unlock()
	u.giveUpParts(parts)
	_ = u.persistAfterwards(ctx, func() error {
		u.sweepGarbage(ctx, true)
		errs := []error{
			u.store.purge(ctx, u.store.ns.PartsStream(), u.store.ns.StreamParts(u.spec.Stream, u.attempt())),
			u.deleteConsumers(ctx),
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if len(u.garbage) > 0 {
			errs = append(errs, errors.New("parts are left in the bucket"))
		}
		return errors.Join(errs...)
	})
}

// deleteConsumers asks the server which there are: the answer to a creation or a
// removal may not have come.
func (u *upload) deleteConsumers(ctx context.Context) error {
	names, err := u.store.consumerNames(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, consumersOf(u.attempt())) {
			errs = append(errs, u.deleteConsumer(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func (u *upload) deleteConsumer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := u.store.js.DeleteConsumer(ctx, u.store.ns.PartsStream(), name)
	if isGone(err) {
		return nil
	}
	return err
}
