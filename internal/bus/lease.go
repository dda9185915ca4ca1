package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Lease returns who publishes now and the revision of that record, ErrNotFound
// when nobody does. Behind a replicated bucket it may lag by moments; writes
// never do.
func (b *Bus) Lease(ctx context.Context) (messages.Lease, uint64, error) {
	var l messages.Lease
	e, err := b.get(ctx, b.names.Bucket(), messages.LeaseKey)
	if err == nil {
		err = b.openLease(e, &l)
	}
	if err == nil {
		err = b.fresh(ctx, &l)
	}
	if err != nil {
		return messages.Lease{}, 0, fmt.Errorf("read the lease of cluster %s: %w", b.cfg.Cluster, err)
	}
	return l, e.Revision(), nil
}

func (b *Bus) openLease(e jetstream.KeyValueEntry, l *messages.Lease) error {
	doc, _, err := b.cfg.Publishers.Open(b.leaseSubject(), e.Value())
	if err == nil {
		err = messages.Decode(doc, l)
	}
	if err == nil && l.Cluster != b.cfg.Cluster {
		err = fmt.Errorf("%w: it is of cluster %q", messages.ErrBadDocument, l.Cluster)
	}
	return err
}

// clockSkew is what the clocks of two nodes may differ by.
const clockSkew = time.Minute

// fresh refuses a lease of the past, whose signature is as good as ever. One that seems
// to be may live for longer than it did in the bucket that was there at the start.
func (b *Bus) fresh(ctx context.Context, l *messages.Lease) error {
	if b.checkAge(l) == nil {
		return nil
	}
	b.learnLeaseTTL(ctx)
	return b.checkAge(l)
}

// checkAge: where no keys are pinned, the bucket's TTL has to do.
func (b *Bus) checkAge(l *messages.Lease) error {
	if age := time.Since(l.At); len(b.cfg.Publishers) > 0 && (age > b.LeaseTTL()+clockSkew || age < -clockSkew) {
		return fmt.Errorf("%w: it was written by %s %s ago by our clock, and lives for %s (somebody put an old one back, or the clocks differ by more than %s)",
			messages.ErrUntrusted, l.Node, age.Round(time.Second), b.LeaseTTL(), clockSkew)
	}
	return nil
}

func (b *Bus) leaseSubject() string { return "$KV." + b.names.Bucket() + "." + messages.LeaseKey }

// Campaign takes the lease and returns its revision: when it is free, when this
// node is its holder already (its predecessor with a lower revision is fenced),
// or when our timeline is higher than the holder's, with the same system
// identifier. Otherwise ErrRefused names the holder; a dead one's lease ends
// after LeaseTTL.
func (b *Bus) Campaign(ctx context.Context, l messages.Lease) (uint64, error) {
	body, err := b.encodeLease(l)
	if err != nil {
		return 0, err
	}
	// Another node may write between our look and our write; the look is then
	// repeated, and nearly always ends in a refusal.
	for range 3 {
		var rev uint64
		if rev, err = b.campaignOnce(ctx, l, body); err == nil {
			b.learnLeaseTTL(ctx)
			return rev, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return 0, fmt.Errorf("take the lease of cluster %s for node %s: %w", b.cfg.Cluster, l.Node, err)
		}
	}
	return 0, fmt.Errorf("take the lease of cluster %s for node %s: %w: other nodes keep changing it: %w", b.cfg.Cluster, l.Node, messages.ErrRefused, err)
}

// learnLeaseTTL looks at the bucket, of a new term say: it may have been lost and made again
// by a node that is configured otherwise. Without an answer what was known holds.
func (b *Bus) learnLeaseTTL(ctx context.Context) {
	_ = b.call(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, "KV_"+b.names.Bucket())
		if err == nil {
			b.setLeaseTTL(s.CachedInfo().Config.MaxAge)
		}
		return err
	})
}

func (b *Bus) campaignOnce(ctx context.Context, l messages.Lease, body []byte) (rev uint64, err error) {
	e, err := b.get(ctx, b.names.Bucket(), messages.LeaseKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return b.writeLease(ctx, body, func(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
			return kv.Create(ctx, messages.LeaseKey, body)
		})
	}
	if err != nil {
		return 0, err
	}
	var holder messages.Lease
	if err := b.openLease(e, &holder); err != nil {
		return 0, fmt.Errorf("%w: the present lease cannot be read: %w (it ends within %s unless renewed)", messages.ErrRefused, err, b.LeaseTTL())
	}
	if err := mayTake(l, holder); err != nil {
		return 0, err
	}
	return b.updateLease(ctx, e.Revision(), body)
}

// mayTake is the rule of succession.
func mayTake(l, holder messages.Lease) error {
	who := fmt.Sprintf("node %s holds it on timeline %d of system %s since %s", holder.Node, holder.Timeline, holder.SystemID, holder.At.UTC().Format("15:04:05Z"))
	switch {
	case l.SystemID != holder.SystemID:
		return fmt.Errorf("%w: %s, this node is system %s: two PostgreSQL clusters share one pgresync cluster name", messages.ErrRefused, who, l.SystemID)
	case l.Timeline > holder.Timeline, l.Timeline == holder.Timeline && l.Node == holder.Node:
		return nil
	}
	return fmt.Errorf("%w: %s, this node is on timeline %d", messages.ErrRefused, who, l.Timeline)
}

// Renew writes the lease again and returns its new revision. ErrLeaseLost when
// it expired or another node took it; ErrUnavailable when the server does not
// answer, and the lease may be ours still.
func (b *Bus) Renew(ctx context.Context, rev uint64, l messages.Lease) (uint64, error) {
	body, err := b.encodeLease(l)
	if err != nil {
		return 0, err
	}
	next, err := b.updateLease(ctx, rev, body)
	if err != nil {
		return 0, fmt.Errorf("renew the lease of cluster %s at revision %d: %w", b.cfg.Cluster, rev, b.lost(ctx, err))
	}
	return next, nil
}

// Resign gives the lease up, so that the next publisher need not wait for it to
// expire. ErrLeaseLost when it was no longer ours.
func (b *Bus) Resign(ctx context.Context, rev uint64) error {
	err := b.try(ctx, func(ctx context.Context) error {
		kv, err := b.bucket(ctx, b.names.Bucket())
		if err != nil {
			return err
		}
		return kv.Delete(ctx, messages.LeaseKey, jetstream.LastRevision(rev))
	})
	if err != nil {
		return fmt.Errorf("resign the lease of cluster %s at revision %d: %w", b.cfg.Cluster, rev, b.lost(ctx, err))
	}
	return nil
}

func (b *Bus) encodeLease(l messages.Lease) ([]byte, error) {
	if l.Cluster != b.cfg.Cluster {
		return nil, fmt.Errorf("lease: %w: it is for cluster %q, this bus is for %q", messages.ErrBadDocument, l.Cluster, b.cfg.Cluster)
	}
	return b.seal(b.leaseSubject(), &l)
}

// lost turns a conflict of revisions into ErrLeaseLost and says who has it now.
func (b *Bus) lost(ctx context.Context, err error) error {
	if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !errors.Is(err, jetstream.ErrKeyExists) {
		return err
	}
	now, rev, getErr := b.Lease(ctx)
	switch {
	case errors.Is(getErr, messages.ErrNotFound):
		return fmt.Errorf("%w: it expired or was resigned", messages.ErrLeaseLost)
	case getErr != nil:
		return fmt.Errorf("%w: %w", messages.ErrLeaseLost, err)
	}
	return fmt.Errorf("%w: node %s has it at revision %d", messages.ErrLeaseLost, now.Node, rev)
}

func (b *Bus) updateLease(ctx context.Context, rev uint64, body []byte) (uint64, error) {
	return b.writeLease(ctx, body, func(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
		return kv.Update(ctx, messages.LeaseKey, body, rev)
	})
}

// writeLease settles the case in which the write was done and its confirmation
// lost: the record then holds exactly our bytes, with our time in them.
func (b *Bus) writeLease(ctx context.Context, body []byte, write func(context.Context, jetstream.KeyValue) (uint64, error)) (rev uint64, err error) {
	err = b.try(ctx, func(ctx context.Context) error {
		kv, err := b.bucket(ctx, b.names.Bucket())
		if err != nil {
			return err
		}
		rev, err = write(ctx, kv)
		return err
	})
	if err == nil || errors.Is(err, messages.ErrPermission) {
		return rev, err
	}
	if e, getErr := b.get(ctx, b.names.Bucket(), messages.LeaseKey); getErr == nil && bytes.Equal(e.Value(), body) {
		return e.Revision(), nil
	}
	return 0, err
}
