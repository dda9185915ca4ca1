package primary

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// mostAncestors bounds the chain of clones that is followed.
const mostAncestors = 64

// inherit gives the live tree bookmarks of what it descends from. A node that was a
// standby has what it has in common with the others in its lineage; only as versions
// of the live datasets can those be the bases of ordinary increments
// (docs/adr/0010-what-a-promoted-node-offers.md).
func (c *catalogue) inherit(ctx context.Context) error {
	tree, err := c.zfs.List(ctx, c.cfg.Dataset)
	if err != nil {
		return fmt.Errorf("list what %s descends from: %w", c.cfg.Dataset, err)
	}
	var errs []error
	made := 0
	for _, d := range tree {
		rel, _ := d.Name.Rel(c.cfg.Dataset)
		if d.Origin == "" || c.cfg.ignored(rel) {
			continue
		}
		ancestors, err := c.ancestors(ctx, d.Origin)
		if err != nil {
			errs = append(errs, err)
		}
		for _, s := range plan.Inherited(c.own(d.Name), ancestors, max(c.cfg.KeepBookmarks, 1)) {
			id, _ := messages.SnapshotIDOf(s.Name) // ours, or it were not inherited
			if err := c.zfs.BookmarkIn(ctx, s.Name, d.Name, id.InheritedName(d.GUID)); err != nil {
				errs = append(errs, err)
				continue
			}
			made++
		}
	}
	if made > 0 {
		c.log.Info().Int("bookmarks", made).Str("dataset", string(c.cfg.Dataset)).Msg("bases taken over from what the live dataset descends from")
		errs = append(errs, c.refresh(ctx))
	}
	return errors.Join(errs...)
}

// ancestors are all versions up to origin, along the chain of clones. What was
// found before an error is returned with it.
func (c *catalogue) ancestors(ctx context.Context, origin messages.SnapshotName) (messages.History, error) {
	var out messages.History
	for range mostAncestors {
		d := origin.Dataset()
		histories, err := c.zfs.Histories(ctx, d)
		if err != nil {
			return out, fmt.Errorf("list what %s descends from: %w", c.cfg.Dataset, err)
		}
		limit := messages.TXG(0)
		for _, s := range histories[d] {
			if s.Name == origin {
				limit = s.CreateTXG
			}
		}
		for _, s := range histories[d] {
			if s.CreateTXG <= limit {
				out = append(out, s)
			}
		}
		info, err := c.zfs.List(ctx, d)
		if err != nil {
			return out, fmt.Errorf("list what %s descends from: %w", c.cfg.Dataset, err)
		}
		if origin = info[0].Origin; origin == "" {
			break
		}
	}
	return out, nil
}

func (c *catalogue) own(d messages.Dataset) messages.History {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.histories[d]
}
