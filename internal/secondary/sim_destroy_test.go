package secondary

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/pgresync/pgresync/messages"
)

// cloned reports whether a dataset other than those inside is a clone of n.
func (w *world) cloned(n messages.SnapshotName, inside []messages.Dataset) bool {
	for d, fs := range w.pool {
		if fs.origin == n && !slices.Contains(inside, d) {
			return true
		}
		// A partial increment is a hidden clone of its base.
		if fs.partial != nil && fs.partial.From != 0 && d == n.Dataset() && w.snapshot(n).guid == fs.partial.From && !slices.Contains(inside, d) {
			return true
		}
	}
	return false
}

func (z zfsHand) DestroyDataset(ctx context.Context, root messages.Dataset) error {
	if err := z.point(ctx, "destroy "+string(root)); err != nil {
		return err
	}
	if z.stuck != nil && root == z.cfg.old() {
		return fmt.Errorf("destroy %s: somebody holds it: %w", root, z.stuck)
	}
	tree := z.tree(root)
	for _, d := range tree {
		fs := z.pool[d]
		if fs.local[messages.PropCluster] == "" {
			return fmt.Errorf("destroy %s: %s: %w", root, d, messages.ErrNotOurs)
		}
		if z.inUse(d) {
			z.breaks("I-1: destroy of %s, on which PostgreSQL runs", d)
		}
		if _, is := z.mountedAt(d); is {
			return fmt.Errorf("destroy %s: %s is mounted: %w", root, d, messages.ErrBusy)
		}
		for _, s := range fs.snaps {
			n := d.Snapshot(s.short)
			if _, ok := messages.SnapshotIDOf(n); !ok {
				return fmt.Errorf("destroy %s: %s: %w", root, n, messages.ErrNotOurs)
			}
			if s.held || z.cloned(n, tree) {
				return fmt.Errorf("destroy %s: %s is held or cloned: %w", root, n, messages.ErrBusy)
			}
		}
	}
	for _, d := range slices.Backward(tree) {
		delete(z.pool, d)
		if err := z.point(ctx, "destroyed "+string(d)); err != nil {
			return err
		}
	}
	return nil
}

func (z zfsHand) DestroySnapshot(ctx context.Context, n messages.SnapshotName) error {
	return z.act(ctx, "destroy "+string(n), func() error {
		s := z.snapshot(n)
		if s == nil {
			return nil
		}
		if _, ok := messages.SnapshotIDOf(n); !ok || s.local[messages.PropID] == "" && z.pool[n.Dataset()].local[messages.PropCluster] == "" {
			return fmt.Errorf("destroy %s: %w", n, messages.ErrNotOurs)
		}
		if s.held || z.cloned(n, nil) {
			return fmt.Errorf("destroy %s: %w", n, messages.ErrBusy)
		}
		fs := z.pool[n.Dataset()]
		fs.snaps = slices.DeleteFunc(fs.snaps, func(have *snapshot) bool { return have == s })
		return nil
	})
}

// partial is what a cut receive saved. It is also the head of a simulated stream.
type partial struct {
	To, From messages.GUID
	Resumed  bool // made by zfs send -t
	fresh    bool // the dataset is nothing but this beginning
}

func (p *partial) token() messages.ResumeToken {
	return messages.ResumeToken(fmt.Sprintf("1-%x-%x", uint64(p.To), uint64(p.From)))
}

func (z zfsHand) Receive(ctx context.Context, spec messages.ReceiveSpec, r io.Reader) error {
	if err := z.point(ctx, "receive into "+string(spec.Into)); err != nil {
		return err
	}
	var head partial
	if err := json.NewDecoder(r).Decode(&head); err != nil {
		return fmt.Errorf("receive %s: %w: %w", spec.Into, messages.ErrStreamCut, err)
	}
	if head.To != spec.To || head.From != spec.From {
		return fmt.Errorf("receive %s: %w", spec.Into, messages.ErrStreamMismatch)
	}
	if err := z.beginReceive(spec, head); err != nil {
		return err
	}
	if err := z.point(ctx, "received half of "+string(spec.Into)); err != nil {
		return err
	}
	z.endReceive(spec)
	return z.point(ctx, "received "+string(spec.Into))
}

func (z zfsHand) beginReceive(spec messages.ReceiveSpec, head partial) error {
	fs := z.pool[spec.Into]
	switch {
	case fs != nil && fs.partial != nil:
		if !head.Resumed || fs.partial.To != head.To || fs.partial.From != head.From {
			return fmt.Errorf("receive %s: another partial receive: %w", spec.Into, messages.ErrBusy)
		}
		return nil
	case head.Resumed:
		return fmt.Errorf("receive %s: nothing to resume: %w", spec.Into, messages.ErrNotFound)
	case fs != nil && spec.From == 0, fs != nil && (len(fs.snaps) == 0 || fs.snaps[len(fs.snaps)-1].guid != spec.From):
		return fmt.Errorf("receive %s: %w", spec.Into, messages.ErrExists)
	case fs != nil:
		fs.partial = &head
		return nil
	}
	if z.pool[spec.Into.Parent()] == nil {
		return absent(spec.Into.Parent())
	}
	fs = &fileSystem{guid: messages.GUID(z.draw()), local: maps.Clone(spec.Set), partial: &head}
	head.fresh = true
	if spec.From != 0 {
		if fs.origin = z.byGUID(spec.From); fs.origin == "" {
			return absent(spec.Into)
		}
		fs.snaps = nil
	}
	z.pool[spec.Into] = fs
	return nil
}

func (w *world) byGUID(g messages.GUID) messages.SnapshotName {
	for d, fs := range w.pool {
		for _, s := range fs.snaps {
			if s.guid == g {
				return d.Snapshot(s.short)
			}
		}
	}
	return ""
}

func (z zfsHand) endReceive(spec messages.ReceiveSpec) {
	fs := z.pool[spec.Into]
	fs.partial = nil
	sent := z.pub.sent(spec.To)
	fs.snaps = append(fs.snaps, &snapshot{
		short: spec.Snapshot, guid: spec.To, txg: messages.TXG(z.draw()), local: map[string]string{}, content: sent.clone("lineage"),
	})
	z.moved[spec.To]++
}

func (z zfsHand) AbortReceive(ctx context.Context, d messages.Dataset) error {
	return z.act(ctx, "abort receive into "+string(d), func() error {
		fs := z.pool[d]
		if fs == nil || fs.partial == nil {
			return nil
		}
		if fs.partial.fresh {
			delete(z.pool, d)
			return nil
		}
		fs.partial = nil
		return nil
	})
}
