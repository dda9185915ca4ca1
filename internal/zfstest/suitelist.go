package zfstest

import (
	"strings"

	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

var listTests = map[string]func(*T){
	"probe finds versions of both halves": func(t *T) {
		caps, err := t.ZFS.Probe(t.Context())
		ok(t, err)
		if !caps.Userland.AtLeast(2, 1, 0) || !caps.Kernel.AtLeast(2, 1, 0) {
			t.Fatalf("got %+v", caps)
		}
	},
	"list gives the tree with its own marks only": func(t *T) {
		b := t.child("b", with(ours, "canmount", "noauto", "recordsize", "16384", "readonly", "on"))
		inner := t.child("b/a b", map[string]string{"example:foreign": "x\ty"})
		t.child("b c", nil)
		infos, err := t.ZFS.List(t.Context(), t.Root)
		ok(t, err)
		names := []messages.Dataset{}
		for _, info := range infos {
			names = append(names, info.Name)
		}
		diff(t, names, []messages.Dataset{t.Root, b, t.Root.Child("b c"), inner})
		diff(t, infos[1].Marks, ours)
		diff(t, infos[3].Marks, map[string]string{})
		if i := infos[1]; i.GUID == 0 || i.Mounted || i.CanMount != "noauto" || i.RecordSize != 16384 || !i.ReadOnly || i.Mountpoint != "none" ||
			i.Encryption != "off" || i.Origin != "" || i.Token != "" || i.Available == 0 {
			t.Fatalf("got %+v", i)
		}
	},
	"list and histories of nothing are not found": func(t *T) {
		_, err := t.ZFS.List(t.Context(), t.Root.Child("no such"))
		wantErr(t, err, messages.ErrNotFound)
		_, err = t.ZFS.Histories(t.Context(), t.Root.Child("no such"))
		wantErr(t, err, messages.ErrNotFound)
	},
	"list refuses a tree with a volume": func(t *T) {
		t.Tool(t, "create", "-V", "1048576", "-o", "volmode=none", string(t.Root.Child("vol")))
		_, err := t.ZFS.List(t.Context(), t.Root)
		wantErr(t, err, messages.ErrRefused)
	},
	"histories hold ours and foreign ones in order": func(t *T) {
		d, empty := t.child("d", nil), t.child("empty", nil)
		first := t.snap(d)
		t.Tool(t, "snapshot", string(d.Snapshot("foreign one")))
		last := t.snap(d)
		ok(t, t.ZFS.Bookmark(t.Context(), first, first.Short()))
		all, err := t.ZFS.Histories(t.Context(), t.Root)
		ok(t, err)
		names := []messages.SnapshotName{}
		for _, s := range all[d] {
			names = append(names, s.Name)
		}
		mark := messages.SnapshotName(string(d) + "#" + first.Short())
		diff(t, names, []messages.SnapshotName{first, mark, d.Snapshot("foreign one"), last})
		if h := all[d]; h[0].GUID != h[1].GUID || h[0].GUID == 0 || !h[1].Bookmark || h[0].CreateTXG >= h[2].CreateTXG {
			t.Fatalf("got %+v", h)
		}
		if h, is := all[empty]; !is || len(h) != 0 {
			t.Fatalf("empty: got %v, %v", h, is)
		}
	},
	"snapshot properties are those of the snapshot itself": func(t *T) {
		d := t.child("d", ours)
		t.child("d/below", nil)
		s := t.snap(d)
		t.Tool(t, "snapshot", string(d.Snapshot("foreign")))
		ok(t, t.ZFS.SetSnapshotProperties(t.Context(), s, map[string]string{messages.PropManifest: strings.Repeat("m", 7000)}))
		id, _ := messages.SnapshotIDOf(s)
		got, err := t.ZFS.SnapshotProperties(t.Context(), d, messages.PropID, messages.PropCluster)
		ok(t, err)
		diff(t, got, map[messages.SnapshotName]map[string]string{s: {messages.PropID: string(id)}})
		got, err = t.ZFS.SnapshotProperties(t.Context(), d)
		ok(t, err)
		if len(got) != 1 || len(got[s][messages.PropManifest]) != 7000 {
			t.Fatalf("got %v", got)
		}
	},
	"others' volumes and names are no obstacle to a survey": func(t *T) {
		d := t.child("d", ours)
		t.Tool(t, "create", "-V", "1048576", "-o", "volmode=none", string(t.Root.Child("volume")))
		t.Tool(t, "create", string(t.Root)+"/-odd")
		_, err := t.ZFS.List(t.Context(), t.Root)
		wantErr(t, err, messages.ErrRefused)
		infos, err := t.ZFS.Survey(t.Context(), t.Root)
		ok(t, err)
		if len(infos) != 2 || infos[0].Name != t.Root || infos[1].Name != d {
			t.Fatalf("got %+v", infos)
		}
		diff(t, infos[1].Marks, ours)
		_, err = t.ZFS.Survey(t.Context(), t.Root.Child("gone"))
		wantErr(t, err, messages.ErrNotFound)
	},
	"local properties can be carried to a clone": func(t *T) {
		props := map[string]string{
			"recordsize": "8192", "compression": "zstd", "quota": "104857600", "canmount": "noauto",
			"mountpoint": "/nowhere at all", "example:note": "keep this",
		}
		d := t.child("d", with(props, "casesensitivity", "insensitive", messages.PropCluster, cluster))
		got, err := t.ZFS.LocalProperties(t.Context(), d)
		ok(t, err)
		diff(t, got, props)
		c := t.Root.Child("clone")
		ok(t, t.ZFS.Clone(t.Context(), t.snap(d), c, got))
		got, err = t.ZFS.LocalProperties(t.Context(), c)
		ok(t, err)
		diff(t, got, props)
	},
	"properties are set and cleared": func(t *T) {
		d := t.child("d", nil)
		journal := "a value = with \"signs\", and spaces"
		ok(t, t.ZFS.SetProperties(t.Context(), d, map[string]string{messages.PropJournal: journal, messages.PropPaused: "x"}))
		diff(t, t.info(d).Marks, map[string]string{messages.PropJournal: journal, messages.PropPaused: "x"})
		ok(t, t.ZFS.InheritProperty(t.Context(), d, messages.PropPaused))
		ok(t, t.ZFS.InheritProperty(t.Context(), d, messages.PropPaused))
		diff(t, t.info(d).Marks, map[string]string{messages.PropJournal: journal})
		wantErr(t, t.ZFS.SetProperties(t.Context(), t.Root.Child("gone"), ours), messages.ErrNotFound)
	},
	"a new mount point does not mount": func(t *T) {
		caps, err := t.ZFS.Probe(t.Context())
		ok(t, err)
		if !caps.SetUnmounted {
			t.Skip("before OpenZFS 2.2 there is no way not to")
		}
		d := t.child("d", map[string]string{"mountpoint": "none", "canmount": "on"})
		ok(t, t.ZFS.SetProperties(t.Context(), d, map[string]string{"mountpoint": t.TempDir() + "/m"}))
		if t.info(d).Mounted {
			t.Fatal("it is mounted")
		}
	},
	"a pool has numbers": func(t *T) {
		info, err := t.ZFS.Pool(t.Context(), t.Pool)
		ok(t, err)
		if info.GUID == 0 || info.Size == 0 || info.Free == 0 || info.Health != "ONLINE" || info.Capacity < 0 || info.Capacity > 100 {
			t.Fatalf("got %+v", info)
		}
		_, err = t.ZFS.Pool(t.Context(), "no such pool")
		wantErr(t, err, messages.ErrNotFound)
	},
	"a name that is an option or a list is never passed on": func(t *T) {
		z := zfsops.New(zfsops.Options{ZFS: "/nonexistent"})
		for _, n := range []string{"-r", "a@b,c", "a@b%c", "a/", "", "a@b@c"} {
			for what, err := range map[string]error{
				"create": z.Create(t.Context(), messages.Dataset(n), nil),
				"hold":   z.Hold(t.Context(), messages.SnapshotName(n), "tag"),
				"set":    z.SetProperties(t.Context(), messages.Dataset(n), ours),
			} {
				if err == nil || strings.Contains(err.Error(), "/nonexistent") {
					t.Errorf("%s %q: got %v", what, n, err)
				}
			}
		}
	},
}
