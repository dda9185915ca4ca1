package zfstest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

// refusals are the ways in which a tree of ours can be not to be destroyed.
var refusals = map[string]struct {
	spoil func(*testing.T, *Env, messages.Dataset, messages.SnapshotName)
	want  error
}{
	"a child without a mark of its own": {func(t *testing.T, e *Env, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		e.Tool(t, "create", "-u", string(d.Child("theirs")))
	}, messages.ErrNotOurs},
	"a foreign snapshot": {func(t *testing.T, e *Env, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		e.Tool(t, "snapshot", string(d.Child("inner").Snapshot("foreign")))
	}, messages.ErrNotOurs},
	"a foreign bookmark": {func(t *testing.T, e *Env, d messages.Dataset, s messages.SnapshotName) {
		t.Helper()
		e.Tool(t, "bookmark", string(s), string(d)+"#foreign")
	}, messages.ErrNotOurs},
	"a hold": {func(t *testing.T, e *Env, d messages.Dataset, s messages.SnapshotName) {
		t.Helper()
		ok(t, e.ZFS.Hold(t.Context(), d.Child("inner").Snapshot(s.Short()), "somebody"))
	}, messages.ErrBusy},
	"a clone outside": {func(t *testing.T, e *Env, _ messages.Dataset, s messages.SnapshotName) {
		t.Helper()
		ok(t, e.ZFS.Clone(t.Context(), s, e.Root.Child("outside"), ours))
	}, messages.ErrBusy},
	"a mounted child": {func(t *testing.T, e *Env, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		ok(t, e.ZFS.SetProperties(t.Context(), d.Child("inner"), map[string]string{"mountpoint": t.TempDir() + "/m"}))
		e.mount(t, d.Child("inner"))
	}, messages.ErrBusy},
	"a volume": {func(t *testing.T, e *Env, d messages.Dataset, _ messages.SnapshotName) {
		t.Helper()
		e.Tool(t, "create", "-V", "1048576", "-o", "volmode=none", string(d.Child("volume")))
	}, messages.ErrRefused},
}

// all is everything there is at and below the root, by name.
func (e *Env) all(t *testing.T) map[messages.Dataset]messages.History {
	t.Helper()
	h, err := e.ZFS.Histories(t.Context(), e.Root)
	ok(t, err)
	return h
}

var destroyTests = map[string]func(*testing.T, *Env){
	"a tree of ours is destroyed": func(t *testing.T, e *Env) {
		d := e.child(t, "d", ours)
		e.child(t, "d/a inner", ours)
		s := e.snap(t, d)
		ok(t, e.ZFS.Bookmark(t.Context(), s, s.Short()))
		// Clones inside, in both directions of the alphabet.
		ok(t, e.ZFS.Clone(t.Context(), s, d.Child("clone"), ours))
		ok(t, e.ZFS.Clone(t.Context(), d.Child("a inner").Snapshot(s.Short()), d.Child("z clone"), ours))
		e.snap(t, d.Child("z clone"))
		e.child(t, "other", ours)
		for range 2 {
			ok(t, e.ZFS.DestroyDataset(t.Context(), d))
		}
		diff(t, e.all(t), map[messages.Dataset]messages.History{e.Root: nil, e.Root.Child("other"): nil})
	},
	"a refusal destroys nothing": func(t *testing.T, e *Env) {
		for what, refusal := range refusals {
			t.Run(what, func(t *testing.T) {
				e := e
				if e.Real {
					e = e.Another(t)
				} else {
					e = Fake(t)
				}
				d := e.child(t, "d", ours)
				e.child(t, "d/inner", ours)
				s := e.snap(t, d)
				refusal.spoil(t, e, d, s)
				before := e.all(t)
				wantErr(t, e.ZFS.DestroyDataset(t.Context(), d), refusal.want)
				if diff := cmp.Diff(before, e.all(t)); diff != "" {
					t.Fatal(diff)
				}
			})
		}
	},
	"a pool's root is never destroyed": func(t *testing.T, e *Env) {
		ok(t, e.ZFS.SetProperties(t.Context(), messages.Dataset(e.Pool), ours))
		wantErr(t, e.ZFS.DestroyDataset(t.Context(), messages.Dataset(e.Pool)), messages.ErrRefused)
		ok(t, e.ZFS.InheritProperty(t.Context(), messages.Dataset(e.Pool), messages.PropCluster))
	},
	"partial receives go with their tree": func(t *testing.T, e *Env) {
		from, d := e.data(t, "from", nil), e.child(t, "d", lineage)
		e.Write(t, from, 100*kib)
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), d.Child("lineage"), lineage, -1))
		e.Write(t, from, 6*mib)
		target := e.snap(t, from)
		wantErr(t, e.transfer(t, e.spec(t, target, base), d.Child("lineage"), nil, 3*mib), messages.ErrStreamCut)
		wantErr(t, e.transfer(t, e.spec(t, target, base), d.Child("a branch"), lineage, 3*mib), messages.ErrStreamCut)
		wantErr(t, e.transfer(t, e.spec(t, target, ""), d.Child("full"), lineage, 3*mib), messages.ErrStreamCut)
		ok(t, e.ZFS.DestroyDataset(t.Context(), d))
		if _, is := e.all(t)[d]; is || len(e.all(t)) != 2 {
			t.Fatalf("left: %v", e.all(t))
		}
	},
}
