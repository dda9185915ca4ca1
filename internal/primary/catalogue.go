package primary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// catalogue is what the live tree's history holds: the complete snapshots with
// their manifests, and every version that can be a base.
type catalogue struct {
	cfg Config
	zfs ZFS
	log zerolog.Logger
	// inWork is the snapshot of the bracket that is open, "" for none.
	inWork func() messages.SnapshotID

	pruning   sync.Mutex           // one round at a time
	mu        sync.Mutex           // guards what follows
	manifests []*messages.Manifest // oldest first
	histories map[messages.Dataset]messages.History
}

// load reads the catalogue from ZFS, and removes what brackets that never completed left.
// A snapshot that somebody else holds, or has cloned, is no reason not to publish.
func (c *catalogue) load(ctx context.Context) error {
	if err := c.read(ctx); err != nil {
		return err
	}
	if err := c.removeIncomplete(ctx); err != nil {
		c.log.Warn().Err(err).Msg("incomplete snapshot not removed yet")
	}
	return c.refresh(ctx)
}

// read reads the complete snapshots from ZFS; refresh adds the histories.
func (c *catalogue) read(ctx context.Context) error {
	props, err := c.zfs.SnapshotProperties(ctx, c.cfg.Dataset, messages.PropState, messages.PropManifest)
	if err != nil {
		return fmt.Errorf("load snapshots of %s: %w", c.cfg.Dataset, err)
	}
	var manifests []*messages.Manifest
	for name, p := range props {
		if _, ours := messages.SnapshotIDOf(name); !ours || p[messages.PropState] != messages.StateComplete {
			continue
		}
		m := &messages.Manifest{}
		if err := messages.UnpackProperty(p[messages.PropManifest], m); err != nil {
			c.log.Warn().Err(err).Str("snapshot", string(name)).Msg("snapshot left alone: its manifest cannot be read")
			continue
		}
		manifests = append(manifests, m)
	}
	c.mu.Lock()
	c.manifests = manifests
	c.mu.Unlock()
	return nil
}

// published are the snapshots in the tree that carry the mark of a publisher. Those
// that were received, and came to be the live dataset's by a promotion, do not.
func (c *catalogue) published(ctx context.Context) (map[messages.SnapshotName]bool, error) {
	c.mu.Lock()
	histories := c.histories
	c.mu.Unlock()
	out := map[messages.SnapshotName]bool{}
	for d := range histories {
		props, err := c.zfs.SnapshotProperties(ctx, d, messages.PropState)
		if err != nil {
			return nil, err
		}
		for name := range props {
			out[name] = true
		}
	}
	return out, nil
}

// snapshots counts those of ours.
func (c *catalogue) snapshots() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.histories {
		for _, v := range h {
			if _, ours := messages.SnapshotIDOf(v.Name); ours && !v.Bookmark {
				n++
			}
		}
	}
	return n
}

// removeIncomplete destroys the snapshots of brackets that never completed: they are ours,
// and no manifest was ever published for them. It looks each time, for the child of a
// sidecar that was killed may make one after the next sidecar has begun.
func (c *catalogue) removeIncomplete(ctx context.Context) error {
	incomplete, err := c.incomplete(ctx)
	if err != nil || len(incomplete) == 0 {
		return err
	}
	// Right before, once more: what was being completed is complete by now.
	still, err := c.incomplete(ctx)
	var errs []error
	for id := range incomplete {
		if !still[id] {
			continue
		}
		err := removeSnapshot(ctx, c.zfs, c.cfg.Dataset, id)
		switch {
		case err == nil:
			c.log.Info().Str("snapshot", string(id)).Msg("incomplete snapshot removed")
		case errors.Is(err, messages.ErrBusy):
			c.log.Debug().Err(err).Str("snapshot", string(id)).Msg("incomplete snapshot not removed yet")
		default:
			errs = append(errs, fmt.Errorf("remove incomplete snapshot %s of %s: %w", id, c.cfg.Dataset, err))
		}
	}
	return errors.Join(append(errs, err)...)
}

// incomplete are the snapshots without the word "complete" that no open bracket is at.
func (c *catalogue) incomplete(ctx context.Context) (map[messages.SnapshotID]bool, error) {
	props, err := c.zfs.SnapshotProperties(ctx, c.cfg.Dataset, messages.PropState)
	if err != nil {
		return nil, fmt.Errorf("look for incomplete snapshots of %s: %w", c.cfg.Dataset, err)
	}
	found := map[messages.SnapshotID]bool{}
	for name, p := range props {
		id, ours := messages.SnapshotIDOf(name)
		// In this order: a bracket is in work until the catalogue has its snapshot.
		if ours && p[messages.PropState] != messages.StateComplete && id != c.inWork() && c.manifest(id) == nil {
			found[id] = true
		}
	}
	return found, nil
}

// refresh reads the histories again.
func (c *catalogue) refresh(ctx context.Context) error {
	h, err := c.zfs.Histories(ctx, c.cfg.Dataset)
	if err != nil {
		return fmt.Errorf("list snapshots of %s: %w", c.cfg.Dataset, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories = h
	c.manifests = slices.DeleteFunc(c.manifests, func(m *messages.Manifest) bool {
		// One that somebody else holds may outlive the others of its snapshot.
		return slices.ContainsFunc(m.Travelling(), func(d messages.ManifestDataset) bool {
			s, ok := h[c.cfg.Dataset.Child(d.Name)].ByGUID(d.GUID)
			return !ok || s.Bookmark
		})
	})
	// The clock may have been set back between two of them.
	slices.SortFunc(c.manifests, func(a, b *messages.Manifest) int { return cmp.Compare(c.txg(a), c.txg(b)) })
	return nil
}

// txg is when m was taken, by the pool's count. The caller holds mu.
func (c *catalogue) txg(m *messages.Manifest) messages.TXG {
	root, _ := m.Dataset("")
	s, _ := c.histories[c.cfg.Dataset].ByGUID(root.GUID)
	return s.CreateTXG
}

func (c *catalogue) add(m *messages.Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.manifests = append(c.manifests, m)
}

// newest is the newest complete snapshot, nil when there is none.
func (c *catalogue) newest() *messages.Manifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.manifests) == 0 {
		return nil
	}
	return c.manifests[len(c.manifests)-1]
}

func (c *catalogue) manifest(id messages.SnapshotID) *messages.Manifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.manifests {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// travelsWith are the GUIDs of the complete snapshot that one of its datasets has the
// GUID g in, of those datasets that travel.
func (c *catalogue) travelsWith(g messages.GUID) []messages.GUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.manifests {
		var all []messages.GUID
		for _, d := range m.Travelling() {
			all = append(all, d.GUID)
		}
		if slices.Contains(all, g) {
			return all
		}
	}
	return nil
}

// stays is whether no complete snapshot has the dataset name to send; while there is
// none, nothing is known to stay.
func (c *catalogue) stays(name messages.RelName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.manifests {
		if d, ok := m.Dataset(name); ok && d.Travels {
			return false
		}
	}
	return len(c.manifests) > 0
}

// history is the versions of one dataset that are ours.
func (c *catalogue) history(name messages.RelName) messages.History {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ours messages.History
	for _, s := range c.histories[c.cfg.Dataset.Child(name)] {
		if _, ok := messages.SnapshotIDOf(s.Name); ok {
			ours = append(ours, s)
		}
	}
	return ours
}

// facts lists the histories of the datasets of the newest snapshot.
func (c *catalogue) facts() []messages.DatasetHistory {
	m := c.newest()
	if m == nil {
		return nil
	}
	var out []messages.DatasetHistory
	for _, d := range m.Travelling() {
		out = append(out, messages.DatasetHistory{Name: d.Name, History: c.history(d.Name)})
	}
	return out
}

// prune bounds what is kept. A pruned snapshot stays as a bookmark, which is all
// that the sending side needs of a base.
func (c *catalogue) prune(ctx context.Context, keep keeps) error {
	c.pruning.Lock()
	defer c.pruning.Unlock()
	c.mu.Lock()
	histories := c.histories
	c.mu.Unlock()
	var errs []error
	changed := false
	for d, h := range histories {
		name, _ := d.Rel(c.cfg.Dataset)
		h = c.prunable(name, h)
		k := keep(name, h)
		destroy, bookmark := plan.Retain(h, k)
		unmarked := map[messages.SnapshotName]bool{} // a base that only the snapshot holds
		for _, s := range bookmark {
			if err := c.zfs.Bookmark(ctx, s.Name, s.Name.Short()); err != nil {
				errs = append(errs, err)
				// A full pool takes no bookmark, and only room helps.
				unmarked[s.Name] = !k.Cramped || k.Bases[s.GUID]
			}
		}
		for _, s := range destroy {
			if unmarked[s.Name] {
				continue
			}
			changed = true
			if err := remove(ctx, c.zfs, s); err != nil && !errors.Is(err, messages.ErrBusy) {
				errs = append(errs, err)
			}
		}
	}
	if changed {
		errs = append(errs, c.refresh(ctx))
	}
	return errors.Join(errs...)
}

// prunable is what prune may look at of the history of one dataset. A dataset that is
// ignored may be another cluster's: of it only the snapshots that were taken with ours
// are, for as long as those are known.
func (c *catalogue) prunable(name messages.RelName, h messages.History) messages.History {
	if !c.cfg.ignored(name) {
		return h
	}
	ours := map[messages.SnapshotID]bool{}
	for _, v := range c.history("") {
		id, _ := messages.SnapshotIDOf(v.Name)
		ours[id] = true
	}
	return slices.DeleteFunc(slices.Clone(h), func(v messages.Snapshot) bool {
		id, _ := messages.SnapshotIDOf(v.Name)
		return v.Bookmark || !ours[id]
	})
}

// age is how long ago m was taken.
func age(m *messages.Manifest, now time.Time) time.Duration { return now.Sub(m.CreatedAt) }
