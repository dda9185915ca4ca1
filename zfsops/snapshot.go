package zfsops

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// SnapshotTree takes one snapshot of root and of everything below it, all in one
// transaction group, with props set on each of them. messages.ErrExists means
// that one of that name was there; then none was taken.
func (z *ZFS) SnapshotTree(ctx context.Context, root messages.Dataset, short string, props map[string]string) error {
	s := root.Snapshot(short)
	a := on("snapshot", s)
	if err := isSnapshot(s); err != nil {
		return err
	}
	args, err := assignments("-o", props)
	if err != nil {
		return a.wrap(err)
	}
	return z.run(ctx, a, append(append([]string{"snapshot", "-r"}, args...), string(s))...)
}

// Hold keeps a snapshot from being destroyed until tag is released. It is no
// error if it is held with this tag already.
func (z *ZFS) Hold(ctx context.Context, s messages.SnapshotName, tag string) error {
	a := on("hold", s)
	if err := errors.Join(isSnapshot(s), checkTag(tag)); err != nil {
		return a.wrap(err)
	}
	err := z.run(ctx, a, "hold", tag, string(s))
	if errors.Is(err, messages.ErrExists) {
		return nil
	}
	return err
}

// Release takes a hold away. It is no error if there is no such hold, or no such
// snapshot.
func (z *ZFS) Release(ctx context.Context, s messages.SnapshotName, tag string) error {
	a := on("release", s)
	if err := errors.Join(isSnapshot(s), checkTag(tag)); err != nil {
		return a.wrap(err)
	}
	err := z.run(ctx, a, "release", tag, string(s))
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	return err
}

func checkTag(tag string) error {
	// A leading dot is reserved (zfs-hold(8)), a leading dash would be an option.
	if tag == "" || strings.ContainsAny(tag[:1], ".-") || strings.ContainsAny(tag, "\t\n\x00") {
		return fmt.Errorf("hold tag %q: want one that is not empty and does not begin with '.' or '-'", tag)
	}
	return nil
}

// Bookmark makes the bookmark short of s in its dataset. It is no error if it is
// there with the same GUID; another one of that name is messages.ErrExists.
func (z *ZFS) Bookmark(ctx context.Context, s messages.SnapshotName, short string) error {
	b := messages.SnapshotName(string(s.Dataset()) + "#" + short)
	a := on("bookmark", b)
	if err := errors.Join(isSnapshot(s), checkName(string(b))); err != nil {
		return a.wrap(err)
	}
	return z.bookmark(ctx, a, s, b)
}

// BookmarkIn makes the bookmark short of s in d: a dataset that descends from s by one or more clones. s is a snapshot, or a bookmark
// (OpenZFS 2.0). zfs send then takes it for a version of d's own, and the stream is
// no clone's (DRR_FLAG_CLONE), so that a receiver which has s can go on in place.
// It is no error if it is there with the same GUID.
func (z *ZFS) BookmarkIn(ctx context.Context, s messages.SnapshotName, d messages.Dataset, short string) error {
	b := messages.SnapshotName(string(d) + "#" + short)
	a := on("bookmark "+string(s)+" as", b)
	if err := checkName(string(s), string(b)); err != nil {
		return a.wrap(err)
	}
	return z.bookmark(ctx, a, s, b)
}

func (z *ZFS) bookmark(ctx context.Context, a act, of, b messages.SnapshotName) error {
	err := z.run(ctx, a, "bookmark", string(of), string(b))
	if !errors.Is(err, messages.ErrExists) {
		return err
	}
	have, err1 := z.guid(ctx, a.op, b)
	want, err2 := z.guid(ctx, a.op, of)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if have != want {
		return a.is(messages.ErrExists, "it is of snapshot GUID %s, not %s", have, want)
	}
	return nil
}
