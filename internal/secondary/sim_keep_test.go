package secondary

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pgresync/pgresync/messages"
)

func (z zfsHand) SnapshotProperties(ctx context.Context, d messages.Dataset, keys ...string) (map[messages.SnapshotName]map[string]string, error) {
	if err := z.point(ctx, fmt.Sprintf("read %v of the snapshots of %s", keys, d)); err != nil {
		return nil, err
	}
	if z.pool[d] == nil {
		return nil, absent(d)
	}
	out := map[messages.SnapshotName]map[string]string{}
	for _, s := range z.pool[d].snaps {
		out[d.Snapshot(s.short)] = maps.Clone(s.local)
	}
	return out, nil
}

// Bookmarks are no part of the simulated pool: nothing is sent from it.
func (z zfsHand) Bookmark(ctx context.Context, n messages.SnapshotName, _ string) error {
	return z.act(ctx, "bookmark "+string(n), func() error { return nil })
}

func (z zfsHand) DestroyBookmark(ctx context.Context, n messages.SnapshotName) error {
	return z.act(ctx, "destroy "+string(n), func() error { return nil })
}

func (z zfsHand) Release(ctx context.Context, n messages.SnapshotName, tag string) error {
	return z.act(ctx, "release "+string(n), func() error {
		if s := z.snapshot(n); s != nil && tag == messages.HoldTag {
			s.held = false
		}
		return nil
	})
}

func (z zfsHand) Promote(ctx context.Context, d messages.Dataset) error {
	return z.act(ctx, "promote "+string(d), func() error {
		fs := z.pool[d]
		if fs == nil || fs.origin == "" {
			return absent(d)
		}
		from, last := fs.origin.Dataset(), z.snapshot(fs.origin)
		old := z.pool[from]
		var moved []*snapshot
		old.snaps = slices.DeleteFunc(old.snaps, func(s *snapshot) bool {
			if s.txg > last.txg {
				return false
			}
			moved = append(moved, s)
			return true
		})
		fs.snaps = append(moved, fs.snaps...)
		fs.origin, old.origin = old.origin, d.Snapshot(last.short)
		for _, other := range z.pool {
			if other != old && other.origin.Dataset() == from && z.snapshot(other.origin) == nil {
				other.origin = d.Snapshot(other.origin.Short())
			}
		}
		return nil
	})
}
