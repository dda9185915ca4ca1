package zfstest

import (
	"github.com/pgresync/pgresync/messages"
)

var snapshotTests = map[string]func(*T){
	"a tree is snapshotted at one moment or not at all": func(t *T) {
		d := t.child("d", nil)
		below := t.child("d/below it", nil)
		s := t.snap(d)
		id, _ := messages.SnapshotIDOf(s)
		a, b := t.history(d)[0], t.history(below)[0]
		if a.CreateTXG != b.CreateTXG || a.GUID == b.GUID {
			t.Fatalf("got %+v and %+v", a, b)
		}
		for _, ds := range []messages.Dataset{d, below} {
			got, err := t.ZFS.SnapshotProperties(t.Context(), ds, messages.PropID)
			ok(t, err)
			diff(t, got, map[messages.SnapshotName]map[string]string{ds.Snapshot(s.Short()): {messages.PropID: string(id)}})
		}
		t.Tool(t, "snapshot", string(below.Snapshot("taken")))
		wantErr(t, t.ZFS.SnapshotTree(t.Context(), d, "taken", nil), messages.ErrExists)
		if n := len(t.history(d)); n != 1 {
			t.Fatalf("%d snapshots, want 1", n)
		}
		wantErr(t, t.ZFS.SnapshotTree(t.Context(), t.Root.Child("gone"), "x", nil), messages.ErrNotFound)
	},
	"hold and release are idempotent": func(t *T) {
		s := t.snap(t.child("d", nil))
		for range 2 {
			ok(t, t.ZFS.Hold(t.Context(), s, "pgresync:a tag"))
		}
		ok(t, t.ZFS.Hold(t.Context(), s, "other"))
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), s), messages.ErrBusy)
		ok(t, t.ZFS.Release(t.Context(), s, "other"))
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), s), messages.ErrBusy)
		for range 2 {
			ok(t, t.ZFS.Release(t.Context(), s, "pgresync:a tag"))
		}
		ok(t, t.ZFS.DestroySnapshot(t.Context(), s))
		ok(t, t.ZFS.Release(t.Context(), s, "other"))
		wantErr(t, t.ZFS.Hold(t.Context(), s, "other"), messages.ErrNotFound)
	},
	"a bookmark is made once and outlives its snapshot": func(t *T) {
		d := t.child("d", nil)
		first, second := t.snap(d), t.snap(d)
		want := t.guid(first)
		for range 2 {
			ok(t, t.ZFS.Bookmark(t.Context(), first, first.Short()))
		}
		wantErr(t, t.ZFS.Bookmark(t.Context(), second, first.Short()), messages.ErrExists)
		ok(t, t.ZFS.DestroySnapshot(t.Context(), first))
		mark := messages.SnapshotName(string(d) + "#" + first.Short())
		if got := t.guid(mark); got != want {
			t.Fatalf("got GUID %s, want %s", got, want)
		}
		wantErr(t, t.ZFS.Bookmark(t.Context(), first, second.Short()), messages.ErrNotFound)
		for range 2 {
			ok(t, t.ZFS.DestroyBookmark(t.Context(), mark))
		}
		diff(t, len(t.history(d)), 1)
	},
	"a clone takes bookmarks of what it descends from": func(t *T) {
		d := t.child("d", nil)
		oldest, origin := t.snap(d), t.snap(d)
		ok(t, t.ZFS.Bookmark(t.Context(), oldest, oldest.Short()))
		ok(t, t.ZFS.DestroySnapshot(t.Context(), oldest))
		c, stranger := t.Root.Child("c"), t.child("stranger", nil)
		ok(t, t.ZFS.Clone(t.Context(), origin, c, nil))
		for range 2 {
			ok(t, t.ZFS.BookmarkIn(t.Context(), origin, c, origin.Short()))
			ok(t, t.ZFS.BookmarkIn(t.Context(), messages.SnapshotName(string(d)+"#"+oldest.Short()), c, oldest.Short()+".c"))
		}
		diff(t, len(t.history(c)), 2)
		if err := t.ZFS.BookmarkIn(t.Context(), origin, stranger, origin.Short()); err == nil {
			t.Fatal("a dataset that does not descend from it took its bookmark")
		}
		wantErr(t, t.ZFS.BookmarkIn(t.Context(), d.Snapshot("gone"), c, "gone"), messages.ErrNotFound)
	},
	"only a snapshot of ours is destroyed": func(t *T) {
		d := t.child("d", nil)
		foreign, lookalike := d.Snapshot("zrepl_1"), d.Snapshot("pgresync-0123456789abcdefghjkmnpq")
		t.Tool(t, "snapshot", string(foreign))
		t.Tool(t, "snapshot", string(lookalike))
		mark := messages.SnapshotName(string(d) + "#theirs")
		t.Tool(t, "bookmark", string(foreign), string(mark))
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), foreign), messages.ErrNotOurs)
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), lookalike), messages.ErrNotOurs)
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), mark), messages.ErrNotOurs)
		wantErr(t, t.ZFS.DestroyBookmark(t.Context(), mark), messages.ErrNotOurs)
		wantErr(t, t.ZFS.DestroyBookmark(t.Context(), lookalike), messages.ErrNotOurs)
		// A mark that is inherited from above says nothing of this dataset.
		ok(t, t.ZFS.SetProperties(t.Context(), t.Root, ours))
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), lookalike), messages.ErrNotOurs)
		diff(t, len(t.history(d)), 3)
		ok(t, t.ZFS.SetProperties(t.Context(), d, ours))
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), foreign), messages.ErrNotOurs)
		for range 2 {
			ok(t, t.ZFS.DestroySnapshot(t.Context(), lookalike))
		}
		ok(t, t.ZFS.DestroySnapshot(t.Context(), t.Root.Child("gone").Snapshot(lookalike.Short())))
	},
	"a cloned snapshot is busy": func(t *T) {
		s := t.snap(t.child("d", nil))
		ok(t, t.ZFS.Clone(t.Context(), s, t.Root.Child("c"), nil))
		wantErr(t, t.ZFS.DestroySnapshot(t.Context(), s), messages.ErrBusy)
	},
}
