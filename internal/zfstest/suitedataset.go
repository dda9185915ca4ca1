package zfstest

import (
	"github.com/pgresync/pgresync/messages"
)

var datasetTests = map[string]func(*T){
	"a new file system is not mounted": func(t *T) {
		d := t.child("d", map[string]string{"mountpoint": t.TempDir() + "/d"})
		if t.info(d).Mounted {
			t.Fatal("it is mounted")
		}
		wantErr(t, t.ZFS.Create(t.Context(), d, nil), messages.ErrExists)
		wantErr(t, t.ZFS.Create(t.Context(), t.Root.Child("no/parent"), nil), messages.ErrNotFound)
	},
	"a clone is not mounted, whatever its canmount": func(t *T) {
		s := t.snap(t.child("d", nil))
		for want, props := range map[string]map[string]string{
			"noauto": {}, "on": {"canmount": "on"}, "off": {"canmount": "off"},
		} {
			c := t.Root.Child(messages.RelName("clone " + want))
			ok(t, t.ZFS.Clone(t.Context(), s, c, with(props, "mountpoint", t.TempDir()+"/c", messages.PropCluster, cluster)))
			info := t.info(c)
			if info.Mounted || info.CanMount != want || info.Origin != s {
				t.Fatalf("%s: got %+v", want, info)
			}
			diff(t, info.Marks, ours)
			wantErr(t, t.ZFS.Clone(t.Context(), s, c, nil), messages.ErrExists)
		}
		wantErr(t, t.ZFS.Clone(t.Context(), s.Dataset().Snapshot("gone"), t.Root.Child("x"), nil), messages.ErrNotFound)
	},
	"mount and unmount are idempotent": func(t *T) {
		d := t.data("d")
		ok(t, t.ZFS.Mount(t.Context(), d))
		if !t.info(d).Mounted {
			t.Fatal("it is not mounted")
		}
		for range 2 {
			ok(t, t.ZFS.Unmount(t.Context(), d))
		}
		if t.info(d).Mounted {
			t.Fatal("it is mounted")
		}
		wantErr(t, t.ZFS.Unmount(t.Context(), t.Root.Child("gone")), messages.ErrNotFound)
		wantErr(t, t.ZFS.Mount(t.Context(), t.Root.Child("gone")), messages.ErrNotFound)
	},
	"what is in use stays mounted": func(t *T) {
		d := t.data("d")
		leave := t.Occupy(t, d)
		err := t.ZFS.Unmount(t.Context(), d)
		leave()
		wantErr(t, err, messages.ErrBusy)
		if !t.info(d).Mounted {
			t.Fatal("it is not mounted")
		}
		inner := t.child("d/inner", nil)
		t.mount(inner)
		wantErr(t, t.ZFS.Unmount(t.Context(), d), messages.ErrBusy)
		if !t.info(inner).Mounted {
			t.Fatal("the inner one is not mounted")
		}
	},
	"rename moves a tree that is not mounted": func(t *T) {
		d := t.child("d", map[string]string{"mountpoint": t.TempDir() + "/d"})
		inner := t.child("d/inner", nil)
		s := t.snap(d)
		want := t.guid(s)
		t.mount(inner)
		to := t.Root.Child("moved here")
		wantErr(t, t.ZFS.Rename(t.Context(), d, to), messages.ErrBusy)
		if !t.info(inner).Mounted {
			t.Fatal("it was unmounted")
		}
		ok(t, t.ZFS.Unmount(t.Context(), inner))
		wantErr(t, t.ZFS.Rename(t.Context(), d, t.child("taken", nil)), messages.ErrExists)
		ok(t, t.ZFS.Rename(t.Context(), d, to))
		if got := t.guid(to.Snapshot(s.Short())); got != want {
			t.Fatalf("got GUID %s, want %s", got, want)
		}
		if t.info(to.Child("inner")).Mounted {
			t.Fatal("it is mounted")
		}
		wantErr(t, t.ZFS.Rename(t.Context(), d, t.Root.Child("x")), messages.ErrNotFound)
	},
	"promote turns the dependency round, once": func(t *T) {
		d := t.child("d", nil)
		s := t.snap(d)
		c := t.Root.Child("c")
		ok(t, t.ZFS.Clone(t.Context(), s, c, nil))
		want := t.guid(s)
		for range 2 {
			ok(t, t.ZFS.Promote(t.Context(), c))
		}
		diff(t, t.info(d).Origin, c.Snapshot(s.Short()))
		diff(t, t.info(c).Origin, messages.SnapshotName(""))
		if got := t.guid(c.Snapshot(s.Short())); got != want {
			t.Fatalf("got GUID %s, want %s", got, want)
		}
		diff(t, len(t.history(d)), 0)
	},
	"promote takes the older bookmarks along, and never onto others": func(t *T) {
		d := t.child("d", nil)
		old, newer := t.snap(d), t.snap(d)
		c := t.Root.Child("c")
		ok(t, t.ZFS.Clone(t.Context(), newer, c, nil))
		ok(t, t.ZFS.Bookmark(t.Context(), old, old.Short()))
		ok(t, t.ZFS.BookmarkIn(t.Context(), old, c, old.Short()))
		wantErr(t, t.ZFS.Promote(t.Context(), c), messages.ErrExists)
		diff(t, t.info(c).Origin, newer)
		ok(t, t.ZFS.DestroyBookmark(t.Context(), messages.SnapshotName(string(c)+"#"+old.Short())))
		ok(t, t.ZFS.Promote(t.Context(), c))
		diff(t, len(t.history(d)), 0)
		diff(t, len(t.history(c)), 3)
	},
}
