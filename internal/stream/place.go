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
// nobody reads the source.
func (u *upload) reserve(ctx context.Context, size uint64) error {
	for {
		u.mu.Lock()
		victims, ok := u.ledger.makeRoom(size, uint64(u.store.cfg.Window), u.consumed())
		u.rec.Paused = !ok
		changed := u.changed
		u.mu.Unlock()
		if err := u.purge(ctx, victims); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// purge removes parts and announcements, and does not give up before ctx does.
func (u *upload) purge(ctx context.Context, parts []retained) error {
	for i, r := range parts {
		err := u.persist(ctx, func() error {
			if err := u.store.discard(ctx, r.part.Object, r.part.Nuid); err != nil {
				return err
			}
			return u.store.purge(ctx, u.store.ns.PartsStream(), u.store.ns.Part(u.spec.Stream, u.rec.Attempt, r.part.Index))
		})
		if err != nil {
			u.giveUpParts(parts[i:])
			return err
		}
		u.forget(r.part.Nuid)
	}
	return nil
}

// upload stores one piece, however often it takes; the reason of each failure
// shows in the record.
func (u *upload) upload(ctx context.Context, pc *piece) (messages.Part, error) {
	part := messages.Part{
		V: messages.Version, Stream: u.spec.Stream, Attempt: u.rec.Attempt,
		Index: pc.index, Offset: pc.offset, Size: uint64(len(pc.data)),
		Object: messages.PartObject(u.spec.Stream, u.rec.Attempt, pc.index),
		SHA256: hex.EncodeToString(pc.sum[:]),
	}
	u.sweepGarbage(ctx, true)
	err := u.persist(ctx, func() (err error) {
		u.sweepGarbage(ctx, false)
		part.Nuid = u.newNuid()
		part.Chunks, err = u.store.put(ctx, part.Object, part.Nuid, pc.data, pc.sum, u.careful > 0)
		if err != nil {
			u.careful = carefulParts
			// The chunks only: the description will soon be the next try's.
			u.giveUp(leftover{nuid: part.Nuid})
		}
		return err
	})
	u.careful = max(0, u.careful-1)
	return part, err
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
		u.giveUp(leftover{r.part.Object, r.part.Nuid})
	}
}

// sweepGarbage purges what was given up, and once more later, when it forgets
// it: the server stores chunks from a queue, which a purge may overtake.
func (u *upload) sweepGarbage(ctx context.Context, forget bool) {
	u.mu.Lock()
	garbage := slices.Clone(u.garbage)
	u.mu.Unlock()
	for _, g := range garbage {
		if err := u.store.discard(ctx, g.object, g.nuid); err != nil || !forget {
			continue
		}
		u.mu.Lock()
		u.garbage = slices.DeleteFunc(u.garbage, func(l leftover) bool { return l == g })
		delete(u.nuids, g.nuid)
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

// persist repeats f until it succeeds or ctx is done, and keeps the latest
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
		if err == nil || errors.Is(err, messages.ErrBadDocument) {
			return err
		}
		u.trouble(err.Error())
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}
