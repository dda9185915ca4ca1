package zfstest

import (
	"testing"

	"github.com/pgresync/pgresync/messages"
)

var snapshotTests = map[string]func(*testing.T, *Env){
	"a tree is snapshotted at one moment or not at all": func(t *testing.T, e *Env) {
		d := e.child(t, "d", nil)
		below := e.child(t, "d/below it", nil)
		s := e.snap(t, d)
		id, _ := messages.SnapshotIDOf(s)
		a, b := e.history(t, d)[0], e.history(t, below)[0]
		if a.CreateTXG != b.CreateTXG || a.GUID == b.GUID {
			t.Fatalf("got %+v and %+v", a, b)
		}
		for _, ds := range []messages.Dataset{d, below} {
			got, err := e.ZFS.SnapshotProperties(t.Context(), ds, messages.PropID)
			ok(t, err)
			diff(t, got, map[messages.SnapshotName]map[string]string{ds.Snapshot(s.Short()): {messages.PropID: string(id)}})
		}
		e.Tool(t, "snapshot", string(below.Snapshot("taken")))
		wantErr(t, e.ZFS.SnapshotTree(t.Context(), d, "taken", nil), messages.ErrExists)
		if n := len(e.history(t, d)); n != 1 {
			t.Fatalf("%d snapshots, want 1", n)
		}
		wantErr(t, e.ZFS.SnapshotTree(t.Context(), e.Root.Child("gone"), "x", nil), messages.ErrNotFound)
	},
	"hold and release are idempotent": func(t *testing.T, e *Env) {
		s := e.snap(t, e.child(t, "d", nil))
		for range 2 {
			ok(t, e.ZFS.Hold(t.Context(), s, "pgresync:a tag"))
		}
		ok(t, e.ZFS.Hold(t.Context(), s, "other"))
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), s), messages.ErrBusy)
		ok(t, e.ZFS.Release(t.Context(), s, "other"))
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), s), messages.ErrBusy)
		for range 2 {
			ok(t, e.ZFS.Release(t.Context(), s, "pgresync:a tag"))
		}
		ok(t, e.ZFS.DestroySnapshot(t.Context(), s))
		ok(t, e.ZFS.Release(t.Context(), s, "other"))
		wantErr(t, e.ZFS.Hold(t.Context(), s, "other"), messages.ErrNotFound)
	},
	"a bookmark is made once and outlives its snapshot": func(t *testing.T, e *Env) {
		d := e.child(t, "d", nil)
		first, second := e.snap(t, d), e.snap(t, d)
		want := e.guid(t, first)
		for range 2 {
			ok(t, e.ZFS.Bookmark(t.Context(), first, first.Short()))
		}
		wantErr(t, e.ZFS.Bookmark(t.Context(), second, first.Short()), messages.ErrExists)
		ok(t, e.ZFS.DestroySnapshot(t.Context(), first))
		mark := messages.SnapshotName(string(d) + "#" + first.Short())
		if got := e.guid(t, mark); got != want {
			t.Fatalf("got GUID %s, want %s", got, want)
		}
		wantErr(t, e.ZFS.Bookmark(t.Context(), first, second.Short()), messages.ErrNotFound)
		for range 2 {
			ok(t, e.ZFS.DestroyBookmark(t.Context(), mark))
		}
		diff(t, len(e.history(t, d)), 1)
	},
	"only a snapshot of ours is destroyed": func(t *testing.T, e *Env) {
		d := e.child(t, "d", nil)
		foreign, lookalike := d.Snapshot("zrepl_1"), d.Snapshot("pgresync-0123456789abcdefghjkmnpq")
		e.Tool(t, "snapshot", string(foreign))
		e.Tool(t, "snapshot", string(lookalike))
		mark := messages.SnapshotName(string(d) + "#theirs")
		e.Tool(t, "bookmark", string(foreign), string(mark))
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), foreign), messages.ErrNotOurs)
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), lookalike), messages.ErrNotOurs)
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), mark), messages.ErrNotOurs)
		wantErr(t, e.ZFS.DestroyBookmark(t.Context(), mark), messages.ErrNotOurs)
		wantErr(t, e.ZFS.DestroyBookmark(t.Context(), lookalike), messages.ErrNotOurs)
		// A mark that is inherited from above says nothing of this dataset.
		ok(t, e.ZFS.SetProperties(t.Context(), e.Root, ours))
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), lookalike), messages.ErrNotOurs)
		diff(t, len(e.history(t, d)), 3)
		ok(t, e.ZFS.SetProperties(t.Context(), d, ours))
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), foreign), messages.ErrNotOurs)
		for range 2 {
			ok(t, e.ZFS.DestroySnapshot(t.Context(), lookalike))
		}
		ok(t, e.ZFS.DestroySnapshot(t.Context(), e.Root.Child("gone").Snapshot(lookalike.Short())))
	},
	"a cloned snapshot is busy": func(t *testing.T, e *Env) {
		s := e.snap(t, e.child(t, "d", nil))
		ok(t, e.ZFS.Clone(t.Context(), s, e.Root.Child("c"), nil))
		wantErr(t, e.ZFS.DestroySnapshot(t.Context(), s), messages.ErrBusy)
	},
}
