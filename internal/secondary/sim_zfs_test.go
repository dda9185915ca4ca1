package secondary

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// fileSystem is one dataset of the simulated pool.
type fileSystem struct {
	guid    messages.GUID
	local   map[string]string // properties whose source is local
	origin  messages.SnapshotName
	snaps   []*snapshot
	content content
	partial *partial
}

type snapshot struct {
	short   string
	guid    messages.GUID
	txg     messages.TXG
	local   map[string]string
	content content
	held    bool // with our tag
}

// content is what is in a file system, as far as it matters: which copy of the
// cluster it belongs to, and for the one with PGDATA what PostgreSQL would find.
type content struct {
	copy string
	pg   *pgData
}

// clone is another dataset's own version of it.
func (c content) clone(copy string) content {
	out := content{copy: copy}
	if c.pg != nil {
		pg := *c.pg
		out.pg = &pg
	}
	return out
}

type zfsHand struct{ hand }

var _ ZFS = zfsHand{}

func (w *world) draw() uint64 { w.ids++; return w.ids }

func absent(d messages.Dataset) error { return fmt.Errorf("%s: %w", d, messages.ErrNotFound) }

// mountpoint follows the inheritance of zfsprops(7).
func (w *world) mountpoint(d messages.Dataset) string {
	for up, rel := d, ""; up != ""; up, rel = up.Parent(), filepath.Base(string(up))+"/"+rel {
		fs := w.pool[up]
		if fs == nil {
			continue
		}
		if mp, ok := fs.local["mountpoint"]; ok {
			if filepath.IsAbs(mp) {
				return filepath.Join(mp, rel)
			}
			return mp
		}
	}
	return "/" + string(d)
}

func (w *world) canmount(d messages.Dataset) string { return cmp.Or(w.pool[d].local["canmount"], "on") }

// tree is root and what lies below it, parents first.
func (w *world) tree(root messages.Dataset) []messages.Dataset {
	var out []messages.Dataset
	for d := range w.pool {
		if _, in := d.Rel(root); in {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) info(d messages.Dataset) messages.DatasetInfo {
	fs := w.pool[d]
	_, is := w.mountedAt(d)
	info := messages.DatasetInfo{
		Name: d, GUID: fs.guid, Mountpoint: w.mountpoint(d), Mounted: is, CanMount: w.canmount(d), Origin: fs.origin,
		Used: w.used, Available: 1 << 40, RecordSize: 131072, Compression: "lz4", Encryption: "off", Marks: map[string]string{},
	}
	for k, v := range fs.local {
		if strings.HasPrefix(k, "pgresync:") {
			info.Marks[k] = v
		}
	}
	if fs.partial != nil {
		info.Token = fs.partial.token()
	}
	return info
}

func (z zfsHand) List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	if root == z.cfg.Dataset.Parent() {
		return nil, fmt.Errorf("list %s: %w: there is a volume, somebody else's", root, messages.ErrRefused)
	}
	return z.Survey(ctx, root)
}

func (z zfsHand) Survey(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	if err := z.point(ctx, "list "+string(root)); err != nil {
		return nil, err
	}
	if z.pool[root] == nil {
		return nil, absent(root)
	}
	var out []messages.DatasetInfo
	for _, d := range z.tree(root) {
		out = append(out, z.info(d))
	}
	return out, nil
}

func (z zfsHand) Histories(ctx context.Context, root messages.Dataset) (map[messages.Dataset]messages.History, error) {
	if err := z.point(ctx, "list snapshots of "+string(root)); err != nil {
		return nil, err
	}
	out := map[messages.Dataset]messages.History{}
	for _, d := range z.tree(root) {
		out[d] = nil
		for _, s := range z.pool[d].snaps {
			out[d] = append(out[d], messages.Snapshot{Name: d.Snapshot(s.short), GUID: s.guid, CreateTXG: s.txg})
		}
	}
	return out, nil
}

func (z zfsHand) LocalProperties(ctx context.Context, d messages.Dataset) (map[string]string, error) {
	if err := z.point(ctx, "read properties of "+string(d)); err != nil {
		return nil, err
	}
	if z.pool[d] == nil {
		return nil, absent(d)
	}
	out := maps.Clone(z.pool[d].local)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, "pgresync:") })
	return out, nil
}

func (z zfsHand) SetProperties(ctx context.Context, d messages.Dataset, props map[string]string) error {
	keys := slices.Sorted(maps.Keys(props))
	return z.act(ctx, fmt.Sprintf("set %v of %s", keys, d), func() error {
		fs := z.pool[d]
		if fs == nil {
			return absent(d)
		}
		if _, moves := props["mountpoint"]; moves {
			if _, is := z.mountedAt(d); is {
				z.breaks("mount point of %s is changed while it is mounted", d)
			}
		}
		maps.Copy(fs.local, props)
		return nil
	})
}

func (z zfsHand) SetSnapshotProperties(ctx context.Context, n messages.SnapshotName, props map[string]string) error {
	return z.act(ctx, "mark "+string(n), func() error {
		s := z.snapshot(n)
		if s == nil {
			return absent(messages.Dataset(n))
		}
		maps.Copy(s.local, props)
		return nil
	})
}

func (z zfsHand) InheritProperty(ctx context.Context, d messages.Dataset, key string) error {
	return z.act(ctx, "inherit "+key+" of "+string(d), func() error {
		if z.pool[d] == nil {
			return absent(d)
		}
		delete(z.pool[d].local, key)
		return nil
	})
}

func (w *world) snapshot(n messages.SnapshotName) *snapshot {
	fs := w.pool[n.Dataset()]
	if fs == nil {
		return nil
	}
	i := slices.IndexFunc(fs.snaps, func(s *snapshot) bool { return s.short == n.Short() })
	if i < 0 {
		return nil
	}
	return fs.snaps[i]
}

func (w *world) vacant(d messages.Dataset) error {
	switch {
	case w.pool[d] != nil:
		return fmt.Errorf("%s: %w", d, messages.ErrExists)
	case w.pool[d.Parent()] == nil:
		return absent(d.Parent())
	}
	return nil
}

func (z zfsHand) Create(ctx context.Context, d messages.Dataset, props map[string]string) error {
	return z.act(ctx, "create "+string(d), func() error {
		if err := z.vacant(d); err != nil {
			return err
		}
		z.pool[d] = &fileSystem{guid: messages.GUID(z.draw()), local: maps.Clone(props), content: content{copy: props[messages.PropResync]}}
		return nil
	})
}

func (z zfsHand) Clone(ctx context.Context, n messages.SnapshotName, d messages.Dataset, props map[string]string) error {
	return z.act(ctx, "clone "+string(d), func() error {
		if err := z.vacant(d); err != nil {
			return err
		}
		s := z.snapshot(n)
		if s == nil {
			return absent(messages.Dataset(n))
		}
		z.pool[d] = &fileSystem{guid: messages.GUID(z.draw()), local: maps.Clone(props), origin: n, content: s.content.clone(props[messages.PropResync])}
		return nil
	})
}

func (z zfsHand) Rename(ctx context.Context, from, to messages.Dataset) error {
	return z.act(ctx, fmt.Sprintf("rename %s to %s", from, to), func() error {
		if z.pool[from] == nil {
			return absent(from)
		}
		if err := z.vacant(to); err != nil {
			return err
		}
		for _, d := range z.tree(from) {
			if z.inUse(d) && !z.server.unseen(z.points) {
				z.breaks("I-1: rename of %s, on which PostgreSQL runs", d)
			}
			if _, is := z.mountedAt(d); is {
				return fmt.Errorf("rename %s: %s is mounted: %w", from, d, messages.ErrBusy)
			}
		}
		for _, d := range z.tree(from) {
			rel, _ := d.Rel(from)
			z.pool[to.Child(rel)] = z.pool[d]
			delete(z.pool, d)
		}
		return nil
	})
}

func (z zfsHand) Mount(ctx context.Context, d messages.Dataset) error {
	return z.act(ctx, "mount "+string(d), func() error {
		if z.pool[d] == nil {
			return absent(d)
		}
		mp := z.mountpoint(d)
		if _, is := z.mountedAt(d); is {
			return nil
		}
		if !filepath.IsAbs(mp) || z.canmount(d) == "off" {
			return fmt.Errorf("mount %s: it has no mount point", d)
		}
		if z.keyMissing && strings.Contains(string(d), "pgresync-next") {
			return fmt.Errorf("mount %s: %w: encryption key not loaded", d, messages.ErrKeys)
		}
		if over, ok := z.at(mp); ok && z.inUse(over) && !strings.HasPrefix(mp, z.mountOf(over)+"/") {
			z.breaks("%s is mounted over %s, on which PostgreSQL runs", d, over)
		}
		z.mounts = append(z.mounts, mounted{mp, d})
		return nil
	})
}

func (w *world) mountOf(d messages.Dataset) string {
	m, _ := w.mountedAt(d)
	return m.at
}

func (z zfsHand) Unmount(ctx context.Context, d messages.Dataset) error {
	return z.act(ctx, "unmount "+string(d), func() error {
		if z.pool[d] == nil {
			return absent(d)
		}
		mine, is := z.mountedAt(d)
		if !is {
			return nil
		}
		// umount(2) takes a path: what goes is what shows there.
		shows, _ := z.at(mine.at)
		if z.inUse(shows) {
			if !z.server.unseen(z.points) {
				z.breaks("I-1: unmount of %s, on which PostgreSQL runs", shows)
			}
			return fmt.Errorf("unmount %s: %w", d, messages.ErrBusy)
		}
		busy := shows == z.stranger && time.Now().Before(z.strangerUntil)
		for _, m := range z.mounts {
			busy = busy || strings.HasPrefix(m.at, mine.at+"/")
		}
		if busy {
			return fmt.Errorf("unmount %s: %w", d, messages.ErrBusy)
		}
		z.mounts = slices.DeleteFunc(z.mounts, func(m mounted) bool { return m.ds == shows })
		return nil
	})
}
