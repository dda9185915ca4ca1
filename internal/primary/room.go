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

// room is a crampedError while more is used than the limit, of the pool or of what a
// dataset of the live tree may use: a quota counts snapshots as well, and what they pin
// PostgreSQL cannot write (I-9). tree is the live one. Of datasets that stay no snapshot
// is kept: a pg_wal that is nearly full is no reason to refuse one to a standby, whose
// slot may be what fills it.
func room(ctx context.Context, cfg Config, zfs Tree, tree []messages.DatasetInfo, stays func(messages.RelName) bool) error {
	pool, err := zfs.Pool(ctx, cfg.Dataset.Pool())
	if err != nil {
		return err
	}
	what, used := "pool "+cfg.Dataset.Pool(), pool.Capacity
	for _, d := range tree {
		if rel, _ := d.Name.Rel(cfg.Dataset); cfg.ignored(rel) || stays(rel) {
			continue
		}
		if s := share(d); s > used {
			what, used = fmt.Sprintf("dataset %s, of what it may use", d.Name), s
		}
	}
	if used <= cfg.PoolLimit {
		return nil
	}
	return &crampedError{fmt.Sprintf("%s: %s: %d %% used is above the limit of %d %% (PGRESYNC_POOL_LIMIT); free some space",
		what, messages.ErrRefused, used, cfg.PoolLimit)}
}

// share is how much, in percent, is used of what d may use: by its own quota, and by
// those above it, which Available knows of. Not where Available is cut to what a refquota
// leaves to the live data: snapshots do not count against that.
func share(d messages.DatasetInfo) int {
	most := d.Used + d.Available
	if cut := d.Available + d.Referenced + slack(d.RefQuota); d.RefQuota > 0 && cut >= d.RefQuota {
		most = d.Quota
	}
	if most == 0 {
		return 0
	}
	return int(d.Used * 100 / most)
}

// slack is for what is written between the reading of two properties.
func slack(quota uint64) uint64 { return quota / 100 }
