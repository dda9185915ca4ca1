package primary

import (
	"context"
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

// crampedError is why no snapshot is taken, and none is kept that nobody is sent.
type crampedError struct{ text string }

func (e *crampedError) Error() string { return e.text }

// Is makes the error a messages.ErrRefused.
func (e *crampedError) Is(target error) bool { return target == messages.ErrRefused }

// room is a crampedError while more is used than the limit, of the pool or of what the
// live tree may use: a quota counts snapshots as well, and what they pin PostgreSQL
// cannot write (I-9). tree is the live one.
func room(ctx context.Context, cfg Config, zfs Tree, tree []messages.DatasetInfo) error {
	pool, err := zfs.Pool(ctx, cfg.Dataset.Pool())
	if err != nil {
		return err
	}
	what, used := "pool "+cfg.Dataset.Pool(), pool.Capacity
	if root := tree[0]; root.Used+root.Available > 0 {
		if share := int(root.Used * 100 / (root.Used + root.Available)); share > used {
			what, used = fmt.Sprintf("dataset %s, of what it may use", cfg.Dataset), share
		}
	}
	if used <= cfg.PoolLimit {
		return nil
	}
	return &crampedError{fmt.Sprintf("%s: %s: %d %% used is above the limit of %d %% (PGRESYNC_POOL_LIMIT); free some space",
		what, messages.ErrRefused, used, cfg.PoolLimit)}
}
