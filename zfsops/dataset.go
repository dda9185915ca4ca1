package zfsops

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

const (
	propMounted  = "mounted"
	propCanMount = "canmount"
	yes          = "yes"
)

// Create makes an empty file system and does not mount it. Its parent must
// exist.
func (z *ZFS) Create(ctx context.Context, d messages.Dataset, props map[string]string) error {
	a := on("create", d)
	args, err := assignments("-o", props)
	if err = errors.Join(checkName(string(d)), err); err != nil {
		return a.wrap(err)
	}
	return z.run(ctx, a, append(append([]string{"create", "-u"}, args...), string(d))...)
}

// Clone makes d from a snapshot and does not mount it: canmount is noauto unless
// props say otherwise.
func (z *ZFS) Clone(ctx context.Context, s messages.SnapshotName, d messages.Dataset, props map[string]string) error {
	a := on("clone "+string(s)+" to", d)
	all := map[string]string{propCanMount: "noauto"}
	maps.Copy(all, props)
	// A clone is mounted at once if canmount is on, and there is no -u up to
	// OpenZFS 2.4; setting it afterwards does not mount (zfsprops(7)).
	mountable := all[propCanMount] == "on"
	if mountable {
		all[propCanMount] = "noauto"
	}
	args, err := assignments("-o", all)
	if err = errors.Join(isSnapshot(s), checkName(string(d)), err); err != nil {
		return a.wrap(err)
	}
	err = z.run(ctx, a, append(append([]string{"clone"}, args...), string(s), string(d))...)
	if err != nil || !mountable {
		return err
	}
	return z.set(ctx, on("set properties of", d), []string{"set"}, map[string]string{propCanMount: "on"})
}

// Rename moves a tree. It is refused with messages.ErrBusy when anything in it
// is mounted: a rename would unmount it.
func (z *ZFS) Rename(ctx context.Context, from, to messages.Dataset) error {
	a := on("rename to "+string(to)+":", from)
	if err := checkName(string(from), string(to)); err != nil {
		return a.wrap(err)
	}
	mounted, err := z.mounted(ctx, a, from)
	if err != nil {
		return err
	}
	if len(mounted) > 0 {
		return a.is(messages.ErrBusy, "%s is mounted at %s: unmount it first", mounted[0].name, mounted[0].at)
	}
	return z.run(ctx, a, "rename", "-u", string(from), string(to))
}

// Promote makes a clone own the history it shares with its origin: snapshots up
// to the origin move to it, holds and properties included, and so do the bookmarks
// of that time. It is no error if d is no clone (any more).
//
// messages.ErrExists means that a bookmark would move to where one of its name is.
// That is never tried: OpenZFS 2.3.9 does not refuse it, it halts the pool (a
// failed assertion behind zfs promote, which then never returns).
func (z *ZFS) Promote(ctx context.Context, d messages.Dataset) error {
	a := on("promote", d)
	got, err := z.get(ctx, a, "origin")
	if err != nil || orEmpty(got["origin"].value) == "" {
		return err
	}
	origin := messages.SnapshotName(got["origin"].value)
	if err := z.checkPromotion(ctx, a, d, origin.Dataset()); err != nil {
		return err
	}
	return z.run(ctx, a, "promote", string(d))
}

// checkPromotion is stricter than need be: bookmarks younger than the origin stay.
func (z *ZFS) checkPromotion(ctx context.Context, a act, d, from messages.Dataset) error {
	taken := map[string]bool{}
	for _, of := range []messages.Dataset{d, from} {
		out, err := z.output(ctx, a, "list", "-Hp", "-d", "1", "-t", "bookmark", "-o", "name", string(of))
		if err != nil {
			return err
		}
		rows, err := parseTable(out, 1)
		if err != nil {
			return a.wrap(err)
		}
		for _, row := range rows {
			b := messages.SnapshotName(row[0])
			if taken[b.Short()] && b.Dataset() == from {
				return a.is(messages.ErrExists, "%s has a bookmark %s too: destroy one of them first", from, b.Short())
			}
			taken[b.Short()] = taken[b.Short()] || b.Dataset() == d
		}
	}
	return nil
}

// Mount mounts d alone. It is no error if it is mounted.
func (z *ZFS) Mount(ctx context.Context, d messages.Dataset) error {
	a := on("mount", d)
	if is, err := z.isMounted(ctx, a); err != nil || is {
		return err
	}
	return z.run(ctx, a, "mount", string(d))
}

// Unmount unmounts d alone, and never by force: messages.ErrBusy when it is in
// use or when a dataset below d is mounted inside it, which zfs unmount would
// unmount too. It is no error if it is not mounted.
func (z *ZFS) Unmount(ctx context.Context, d messages.Dataset) error {
	a := on("unmount", d)
	if err := checkName(string(d)); err != nil {
		return a.wrap(err)
	}
	mounted, err := z.mounted(ctx, a, d)
	if err != nil {
		return err
	}
	if len(mounted) == 0 || mounted[0].name != string(d) {
		return nil
	}
	for _, m := range mounted[1:] {
		if strings.HasPrefix(m.at, strings.TrimSuffix(mounted[0].at, "/")+"/") {
			return a.is(messages.ErrBusy, "%s is mounted inside it at %s: unmount that first", m.name, m.at)
		}
	}
	err = z.run(ctx, a, "unmount", string(d))
	var e *Error
	if errors.As(err, &e) && errors.Is(e.Kind, messages.ErrBusy) {
		e.Hint = "a process has a file or its working directory in " + mounted[0].at + ": fuser -vm shows which"
	}
	return err
}

func (z *ZFS) isMounted(ctx context.Context, a act) (bool, error) {
	got, err := z.get(ctx, a, propMounted)
	return got[propMounted].value == yes, err
}

type mount struct{ name, at string }

// mounted lists what is mounted of the tree at d, parents first.
func (z *ZFS) mounted(ctx context.Context, a act, d messages.Dataset) ([]mount, error) {
	out, err := z.output(ctx, a, "list", "-Hp", "-r", "-t", "filesystem", "-s", "name", "-o", "name,mounted,mountpoint", string(d))
	if err != nil {
		return nil, err
	}
	rows, err := parseTable(out, 3)
	if err != nil {
		return nil, a.wrap(err)
	}
	var mounts []mount
	for _, row := range rows {
		if row[1] == yes {
			mounts = append(mounts, mount{row[0], row[2]})
		}
	}
	return mounts, nil
}
