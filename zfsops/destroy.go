package zfsops

import (
	"context"
	"errors"

	"github.com/pgresync/pgresync/messages"
)

// DestroySnapshot destroys one snapshot that is ours: its name is of our making
// and it, or its dataset, carries our mark locally; else messages.ErrNotOurs. A
// snapshot that is held or cloned is messages.ErrBusy. It is no error if it is
// gone.
func (z *ZFS) DestroySnapshot(ctx context.Context, s messages.SnapshotName) error {
	a := on("destroy snapshot", s)
	id, ok := messages.SnapshotIDOf(s)
	if !ok {
		return a.is(messages.ErrNotOurs, "its name is not of pgresync's making")
	}
	if err := isSnapshot(s); err != nil {
		return a.wrap(err)
	}
	got, err := z.get(ctx, a, messages.PropID)
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if p := got[messages.PropID]; !p.local() || p.value != string(id) {
		dataset, err := z.get(ctx, on(a.op, s.Dataset()), messages.PropCluster)
		if err != nil {
			return err
		}
		if !dataset[messages.PropCluster].local() {
			return a.is(messages.ErrNotOurs, "it has no %s of its own, nor has its dataset a %s", messages.PropID, messages.PropCluster)
		}
	}
	return ignoreGone(z.run(ctx, a, "destroy", string(s)))
}

// DestroyBookmark destroys one bookmark whose name is of our making; else
// messages.ErrNotOurs. Bookmarks have no properties to carry a mark. It is no
// error if it is gone.
func (z *ZFS) DestroyBookmark(ctx context.Context, b messages.SnapshotName) error {
	a := on("destroy bookmark", b)
	if _, ok := messages.SnapshotIDOf(b); !ok || !b.IsBookmark() {
		return a.is(messages.ErrNotOurs, "its name is not that of a bookmark of pgresync's making")
	}
	if err := checkName(string(b)); err != nil {
		return a.wrap(err)
	}
	return ignoreGone(z.run(ctx, a, "destroy", string(b)))
}

func ignoreGone(err error) error {
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	return err
}

// DestroyDataset destroys d and everything below it: partial receives,
// snapshots, and file systems, children first, each by a command of its own that
// refuses to take anything else along. Before the first of them, the whole tree
// is checked, and nothing is destroyed unless every file system in it carries
// our mark locally and every snapshot and bookmark in it has a name of our
// making (messages.ErrNotOurs), none is mounted, held, or cloned from outside
// (messages.ErrBusy), and d is not a pool's root (messages.ErrRefused). It is no
// error if d is gone. After an interruption it goes on where it was.
func (z *ZFS) DestroyDataset(ctx context.Context, d messages.Dataset) error {
	a := on("destroy", d)
	if d.Parent() == "" {
		return a.is(messages.ErrRefused, "it is a pool's root")
	}
	t, err := z.readTree(ctx, a, d)
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	order, err := t.destroyOrder(a)
	if err != nil {
		return err
	}
	for _, info := range order {
		if err := z.destroyOne(ctx, info, t.snapshots[info.Name]); err != nil {
			return err
		}
	}
	return nil
}

// readTree reads what destroyOrder decides upon.
func (z *ZFS) readTree(ctx context.Context, a act, d messages.Dataset) (*tree, error) {
	infos, err := z.List(ctx, d)
	if err != nil {
		return nil, err
	}
	out, err := z.output(ctx, a, "list", "-Hp", "-r", "-t", "snapshot", "-o", "name,userrefs,clones", string(d))
	if err != nil {
		return nil, err
	}
	bookmarks, err := z.output(ctx, a, "list", "-Hp", "-r", "-t", "bookmark", "-o", "name", string(d))
	if err != nil {
		return nil, err
	}
	t, err := parseTree(infos, out, bookmarks)
	return t, a.wrap(err)
}

// destroyOne destroys one file system of a checked tree. What may have changed
// since is checked again right before: zfs destroy unmounts what is mounted.
func (z *ZFS) destroyOne(ctx context.Context, info messages.DatasetInfo, snapshots []treeSnapshot) error {
	a := on("destroy", info.Name)
	if err := z.stillOurs(ctx, a); err != nil {
		return ignoreGone(err)
	}
	if info.Token != "" {
		if err := z.AbortReceive(ctx, info.Name); err != nil {
			return err
		}
	}
	for _, s := range snapshots {
		if err := ignoreGone(z.run(ctx, on("destroy snapshot", s.name), "destroy", string(s.name))); err != nil {
			return err
		}
	}
	// A partial full receive was the whole dataset, and is gone with its state.
	return ignoreGone(z.run(ctx, a, "destroy", string(info.Name)))
}

func (z *ZFS) stillOurs(ctx context.Context, a act) error {
	got, err := z.get(ctx, a, propMounted, messages.PropCluster)
	if err != nil {
		return err
	}
	if !got[messages.PropCluster].local() {
		return a.is(messages.ErrNotOurs, "it has no %s of its own", messages.PropCluster)
	}
	if got[propMounted].value == yes {
		return a.is(messages.ErrBusy, "it is mounted: unmount it first")
	}
	return nil
}
