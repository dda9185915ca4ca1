package zfstest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

// refusals are the ways in which a tree of ours can be not to be destroyed.
var refusals = map[string]struct {
	spoil func(*T, messages.Dataset, messages.SnapshotName)
	want  error
}{
	"a child without a mark of its own": {func(t *T, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		t.Tool(t, "create", "-u", string(d.Child("theirs")))
	}, messages.ErrNotOurs},
	"a foreign snapshot": {func(t *T, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		t.Tool(t, "snapshot", string(d.Child("inner").Snapshot("foreign")))
	}, messages.ErrNotOurs},
	"a foreign bookmark": {func(t *T, d messages.Dataset, s messages.SnapshotName) {
		t.Helper()
		t.Tool(t, "bookmark", string(s), string(d)+"#foreign")
	}, messages.ErrNotOurs},
	"a hold": {func(t *T, d messages.Dataset, s messages.SnapshotName) {
		t.Helper()
		ok(t, t.ZFS.Hold(t.Context(), d.Child("inner").Snapshot(s.Short()), "somebody"))
	}, messages.ErrBusy},
	"a clone outside": {func(t *T, _ messages.Dataset, s messages.SnapshotName) {
		t.Helper()
		ok(t, t.ZFS.Clone(t.Context(), s, t.Root.Child("outside"), ours))
	}, messages.ErrBusy},
	"a mounted child": {func(t *T, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		ok(t, t.ZFS.SetProperties(t.Context(), d.Child("inner"), map[string]string{"mountpoint": t.TempDir() + "/m"}))
		t.mount(d.Child("inner"))
	}, messages.ErrBusy},
	"a volume": {func(t *T, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		t.Tool(t, "create", "-V", "1048576", "-o", "volmode=none", string(d.Child("volume")))
	}, messages.ErrRefused},
}

// all is everything there is at and below the root, by name.
func (t *T) all() map[messages.Dataset]messages.History {
	t.Helper()
	h, err := t.ZFS.Histories(t.Context(), t.Root)
	ok(t, err)
	return h
}

var destroyTests = map[string]func(*T){
	"a tree of ours is destroyed": func(t *T) {
		d := t.child("d", ours)
		t.child("d/a inner", ours)
		s := t.snap(d)
		ok(t, t.ZFS.Bookmark(t.Context(), s, s.Short()))
		// Clones inside, in both directions of the alphabet.
		ok(t, t.ZFS.Clone(t.Context(), s, d.Child("clone"), ours))
		ok(t, t.ZFS.Clone(t.Context(), d.Child("a inner").Snapshot(s.Short()), d.Child("z clone"), ours))
		t.snap(d.Child("z clone"))
		t.child("other", ours)
		for range 2 {
			ok(t, t.ZFS.DestroyDataset(t.Context(), d))
		}
		diff(t, t.all(), map[messages.Dataset]messages.History{t.Root: nil, t.Root.Child("other"): nil})
	},
	"a refusal destroys nothing": func(t *T) {
		for what, refusal := range refusals {
			t.Run(what, func(sub *testing.T) {
				t := &T{sub, t.fresh(sub)}
				d := t.child("d", ours)
				t.child("d/inner", ours)
				s := t.snap(d)
				refusal.spoil(t, d, s)
				before := t.all()
				wantErr(t, t.ZFS.DestroyDataset(t.Context(), d), refusal.want)
				if diff := cmp.Diff(before, t.all()); diff != "" {
					t.Fatal(diff)
				}
			})
		}
	},
	"a pool's root is never destroyed": func(t *T) {
		ok(t, t.ZFS.SetProperties(t.Context(), messages.Dataset(t.Pool), ours))
		wantErr(t, t.ZFS.DestroyDataset(t.Context(), messages.Dataset(t.Pool)), messages.ErrRefused)
		ok(t, t.ZFS.InheritProperty(t.Context(), messages.Dataset(t.Pool), messages.PropCluster))
	},
	"partial receives go with their tree": func(t *T) {
		from, d := t.data("from"), t.child("d", lineage)
		t.Write(t, from, 100*kib)
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), d.Child("lineage"), lineage, -1))
		t.Write(t, from, 6*mib)
		target := t.snap(from)
		wantErr(t, t.transfer(t.spec(target, base), d.Child("lineage"), nil, 3*mib), messages.ErrStreamCut)
		wantErr(t, t.transfer(t.spec(target, base), d.Child("a branch"), lineage, 3*mib), messages.ErrStreamCut)
		wantErr(t, t.transfer(t.spec(target, ""), d.Child("full"), lineage, 3*mib), messages.ErrStreamCut)
		ok(t, t.ZFS.DestroyDataset(t.Context(), d))
		if _, is := t.all()[d]; is || len(t.all()) != 2 {
			t.Fatalf("left: %v", t.all())
		}
	},
}
