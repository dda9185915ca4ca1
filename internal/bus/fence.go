package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// fence keeps the answers of a deposed publisher out. Revisions of one term
// (one node's tenure) may be seen out of order, since the holder renews while it
// answers; those of an earlier term may not be seen at all.
type fence struct {
	mu   sync.Mutex
	node messages.NodeName
	// floor is the least revision of node's present term, top the greatest seen.
	floor, top uint64
	// created is the age of the bucket: a new bucket counts revisions from 1.
	created time.Time
}

// observe takes note that node holds the lease at rev, as read from the bucket.
// It returns ErrUnavailable when another node is known to have held it later:
// what was read is old, look again.
func (f *fence) observe(node messages.NodeName, rev uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case node != f.node && rev > f.top:
		f.node, f.floor, f.top = node, f.top+1, rev
	case node != f.node:
		f.floor = max(f.floor, rev+1) // an earlier term, seen late, is a bound too
	}
	if err := f.refuse(node, rev); err != nil {
		return err
	}
	f.top = max(f.top, rev)
	return nil
}

// admit checks the revision in an answer. It learns nothing from it: a made-up
// number must not lock out the next holder.
func (f *fence) admit(node messages.NodeName, rev uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refuse(node, rev)
}

func (f *fence) refuse(node messages.NodeName, rev uint64) error {
	if node == f.node && rev >= f.floor {
		return nil
	}
	return fmt.Errorf("%w: node %s at lease revision %d has been succeeded by node %s at revision %d",
		messages.ErrUnavailable, node, rev, f.node, f.top)
}

// renew forgets everything when the bucket is another one than before.
func (f *fence) renew(created time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !created.Equal(f.created) {
		f.node, f.floor, f.top, f.created = "", 0, 0, created
	}
}

func (f *fence) dated() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.created.IsZero()
}

// holder looks up who publishes now.
func (c *Client) holder(ctx context.Context) (messages.Lease, error) {
	l, rev, err := c.b.Lease(ctx)
	if err != nil {
		return l, err
	}
	if !c.fence.dated() {
		created, err := c.b.stateCreated(ctx)
		if err != nil {
			return l, err
		}
		c.fence.renew(created)
	}
	if c.fence.observe(l.Node, rev) == nil {
		return l, nil
	}
	// Either a lagging replica answered, or the bucket was made anew.
	created, err := c.b.stateCreated(ctx)
	if err != nil {
		return l, err
	}
	c.fence.renew(created)
	return l, c.fence.observe(l.Node, rev)
}

func (b *Bus) stateCreated(ctx context.Context) (created time.Time, err error) {
	err = b.call(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, "KV_"+b.names.Bucket())
		if err == nil {
			created = s.CachedInfo().Created
		}
		return err
	})
	if err != nil {
		return created, fmt.Errorf("key-value bucket %s: %w", b.names.Bucket(), err)
	}
	return created, nil
}
