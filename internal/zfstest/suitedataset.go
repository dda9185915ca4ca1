package zfstest

import (
	"testing"

	"github.com/pgresync/pgresync/messages"
)

var datasetTests = map[string]func(*testing.T, *Env){
	"a new file system is not mounted": func(t *testing.T, e *Env) {
		d := e.child(t, "d", map[string]string{"mountpoint": t.TempDir() + "/d"})
		if e.info(t, d).Mounted {
			t.Fatal("it is mounted")
		}
		wantErr(t, e.ZFS.Create(t.Context(), d, nil), messages.ErrExists)
		wantErr(t, e.ZFS.Create(t.Context(), e.Root.Child("no/parent"), nil), messages.ErrNotFound)
	},
	"a clone is not mounted, whatever its canmount": func(t *testing.T, e *Env) {
		s := e.snap(t, e.child(t, "d", nil))
		for want, props := range map[string]map[string]string{
			"noauto": {}, "on": {"canmount": "on"}, "off": {"canmount": "off"},
		} {
			c := e.Root.Child(messages.RelName("clone " + want))
			ok(t, e.ZFS.Clone(t.Context(), s, c, with(props, "mountpoint", t.TempDir()+"/c", messages.PropCluster, cluster)))
			info := e.info(t, c)
			if info.Mounted || info.CanMount != want || info.Origin != s {
				t.Fatalf("%s: got %+v", want, info)
			}
			diff(t, info.Marks, ours)
			wantErr(t, e.ZFS.Clone(t.Context(), s, c, nil), messages.ErrExists)
		}
		wantErr(t, e.ZFS.Clone(t.Context(), s.Dataset().Snapshot("gone"), e.Root.Child("x"), nil), messages.ErrNotFound)
	},
	"mount and unmount are idempotent": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		ok(t, e.ZFS.Mount(t.Context(), d))
		if !e.info(t, d).Mounted {
			t.Fatal("it is not mounted")
		}
		for range 2 {
			ok(t, e.ZFS.Unmount(t.Context(), d))
		}
		if e.info(t, d).Mounted {
			t.Fatal("it is mounted")
		}
		wantErr(t, e.ZFS.Unmount(t.Context(), e.Root.Child("gone")), messages.ErrNotFound)
		wantErr(t, e.ZFS.Mount(t.Context(), e.Root.Child("gone")), messages.ErrNotFound)
	},
	"what is in use stays mounted": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		leave := e.Occupy(t, d)
		err := e.ZFS.Unmount(t.Context(), d)
		leave()
		wantErr(t, err, messages.ErrBusy)
		if !e.info(t, d).Mounted {
			t.Fatal("it is not mounted")
		}
		inner := e.child(t, "d/inner", nil)
		e.mount(t, inner)
		wantErr(t, e.ZFS.Unmount(t.Context(), d), messages.ErrBusy)
		if !e.info(t, inner).Mounted {
			t.Fatal("the inner one is not mounted")
		}
	},
	"rename moves a tree that is not mounted": func(t *testing.T, e *Env) {
		d := e.child(t, "d", map[string]string{"mountpoint": t.TempDir() + "/d"})
		inner := e.child(t, "d/inner", nil)
		s := e.snap(t, d)
		want := e.guid(t, s)
		e.mount(t, inner)
		to := e.Root.Child("moved here")
		wantErr(t, e.ZFS.Rename(t.Context(), d, to), messages.ErrBusy)
		if !e.info(t, inner).Mounted {
			t.Fatal("it was unmounted")
		}
		ok(t, e.ZFS.Unmount(t.Context(), inner))
		wantErr(t, e.ZFS.Rename(t.Context(), d, e.child(t, "taken", nil)), messages.ErrExists)
		ok(t, e.ZFS.Rename(t.Context(), d, to))
		if got := e.guid(t, to.Snapshot(s.Short())); got != want {
			t.Fatalf("got GUID %s, want %s", got, want)
		}
		if e.info(t, to.Child("inner")).Mounted {
			t.Fatal("it is mounted")
		}
		wantErr(t, e.ZFS.Rename(t.Context(), d, e.Root.Child("x")), messages.ErrNotFound)
	},
	"promote turns the dependency round, once": func(t *testing.T, e *Env) {
		d := e.child(t, "d", nil)
		s := e.snap(t, d)
		c := e.Root.Child("c")
		ok(t, e.ZFS.Clone(t.Context(), s, c, nil))
		want := e.guid(t, s)
		for range 2 {
			ok(t, e.ZFS.Promote(t.Context(), c))
		}
		diff(t, e.info(t, d).Origin, c.Snapshot(s.Short()))
		diff(t, e.info(t, c).Origin, messages.SnapshotName(""))
		if got := e.guid(t, c.Snapshot(s.Short())); got != want {
			t.Fatalf("got GUID %s, want %s", got, want)
		}
		diff(t, len(e.history(t, d)), 0)
	},
}
