package stream

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nuid"

	"github.com/pgresync/pgresync/messages"
)

// reserve waits until the window has room for size bytes. While it waits,
// nobody reads the source. What makes room is handed to the purger: no more than
// one part is in the bucket beyond the window.
func (u *upload) reserve(ctx context.Context, size uint64) error {
	for {
		u.mu.Lock()
		victims, ok := u.ledger.makeRoom(size, uint64(u.store.cfg.Window), u.consumed())
		u.rec.Paused = !ok
		changed := u.changed
		u.mu.Unlock()
		if err := u.evictParts(ctx, victims); err != nil || ok {
			return err
		}
		if err := await(ctx, changed); err != nil {
			return err
		}
	}
}

func (u *upload) evictParts(ctx context.Context, parts []retained) error {
	for i, r := range parts {
		select {
		case u.victims <- r:
		case <-ctx.Done():
			u.giveUpParts(parts[i:])
			return context.Cause(ctx)
		}
	}
	return nil
}

// purgeAll removes what it is handed while the next parts are stored: three calls
// for each part, which these need not wait for. It ends when no more will come.
func (u *upload) purgeAll(ctx context.Context) {
	var enough error // to have waited for once
	for r := range u.victims {
		if enough == nil {
			enough = u.purge(ctx, r)
		}
		if enough != nil {
			u.giveUpParts([]retained{r})
		}
	}
}

// purge removes a part and its announcement. What waits for it waits for readers, as
// far as the watchdog can see, so that it has a limit of its own.
func (u *upload) purge(ctx context.Context, r retained) error {
	err := u.persistAfterwards(ctx, func() error {
		if err := u.store.discard(ctx, r.part.Object, r.part.Nuid); err != nil {
			return err
		}
		return u.store.purge(ctx, u.store.ns.PartsStream(), u.store.ns.Part(u.spec.Stream, u.rec.Attempt, r.part.Index))
	})
	if err == nil {
		u.forget(r.part.Nuid)
	}
	return err
}

// upload stores one piece, however often it takes; the reason of each failure
// shows in the record. sent is called when all of its chunks are on their way.
func (u *upload) upload(ctx context.Context, pc *piece, sent func()) (messages.Part, error) {
	part := messages.Part{
		V: messages.Version, Stream: u.spec.Stream, Attempt: u.rec.Attempt,
		Index: pc.index, Offset: pc.offset, Size: uint64(len(pc.data)),
		Object: messages.PartObject(u.spec.Stream, u.rec.Attempt, pc.index),
		SHA256: hex.EncodeToString(pc.sum[:]),
	}
	err := u.persist(ctx, func() (err error) {
		u.sweepGarbage(ctx, false)
		part.Nuid = u.newNuid()
		part.Chunks, err = u.store.put(ctx, parcel{
			object: part.Object, nuid: part.Nuid, data: pc.data, sum: pc.sum,
			flight: u.flight, careful: u.isCareful(), sent: sent,
		})
		if err != nil {
			u.store.totals.retries.Add(1)
			u.beCareful()
			// The chunks only: the description will soon be the next try's.
			u.giveUp(leftover{nuid: part.Nuid})
		}
		return err
	})
	u.relax()
	if err == nil {
		u.store.totals.moved(len(pc.data))
	}
	return part, err
}

func (u *upload) isCareful() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.careful > 0
}

func (u *upload) beCareful() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.careful = carefulParts
}

func (u *upload) relax() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.careful = max(0, u.careful-1)
}

// newNuid registers the name before the first chunk carries it, so that no
// sweep takes the chunks for leftovers.
func (u *upload) newNuid() string {
	n := nuid.Next()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.nuids[n] = true
	return n
}

// forget: a stream of any length is known by what is left of it.
func (u *upload) forget(nuid string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.nuids, nuid)
}

func (u *upload) giveUp(l leftover) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.garbage = append(u.garbage, l)
}

func (u *upload) giveUpParts(parts []retained) {
	for _, r := range parts {
		u.giveUp(leftover{object: r.part.Object, nuid: r.part.Nuid, settled: true})
	}
}

// sweepGarbage purges what was given up. What may have had chunks in flight it
// purges once more later, when it forgets it: the server stores chunks from a
// queue, which a purge may overtake.
func (u *upload) sweepGarbage(ctx context.Context, forget bool) {
	u.mu.Lock()
	garbage := slices.Clone(u.garbage)
	u.mu.Unlock()
	for _, g := range garbage {
		if err := u.store.discard(ctx, g.object, g.nuid); err != nil {
			continue
		}
		u.mu.Lock()
		i := slices.IndexFunc(u.garbage, func(l leftover) bool { return l.nuid == g.nuid && l.object == g.object })
		switch {
		case i < 0: // another part's goroutine was quicker
		case forget && g.settled:
			u.garbage = slices.Delete(u.garbage, i, i+1)
			delete(u.nuids, g.nuid)
		default:
			u.garbage[i].settled = true
		}
		u.mu.Unlock()
	}
}

func (u *upload) announce(ctx context.Context, part messages.Part) error {
	part.Chain = chain(u.chain, part.SHA256)
	var seq uint64
	err := u.persist(ctx, func() (err error) {
		seq, err = u.store.publish(ctx, u.store.ns.Part(part.Stream, part.Attempt, part.Index),
			fmt.Sprintf("%s-%d", part.Attempt, part.Index), &part)
		return err
	})
	if err != nil {
		return err
	}
	u.chain = part.Chain
	u.update(func() {
		u.ledger.announced(part, seq)
		u.rec.Parts = part.Index + 1
		u.rec.Sent = part.Offset + part.Size
		u.measure()
	})
	u.moves.Add(1)
	u.report(false)
	return nil
}

// persistAfterwards is persist for what comes after a transfer, or after a part of it,
// which no watchdog bounds: it gives up after the same times.
func (u *upload) persistAfterwards(ctx context.Context, f func() error) error {
	p := newPatience(u.store.cfg, u.store.conn)
	return u.persist(ctx, func() error {
		err := f()
		if err == nil {
			return nil
		}
		if enough := p.check(err); enough != nil {
			return fmt.Errorf("%w: %w", errGaveUp, enough)
		}
		return err
	})
}

// persist repeats f until it succeeds, gives up or ctx is done, and keeps the latest
// error in the record in between.
func (u *upload) persist(ctx context.Context, f func() error) error {
	var b backoff
	for {
		err := f()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && b != (backoff{}) {
			u.trouble("")
		}
		if err == nil || errors.Is(err, messages.ErrBadDocument) || errors.Is(err, errGaveUp) {
			return err
		}
		u.trouble(err.Error())
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}
