package zfstest

import (
	"github.com/pgresync/pgresync/messages"
)

// cloneTests are about what a promoted node sends: its live dataset is a clone.
var cloneTests = map[string]func(*T){
	"an increment of a clone from its origin becomes a branch": func(t *T) {
		old, to := t.data("old primary"), t.Root.Child("to")
		t.Write(t, old, 100*kib)
		base := t.snap(old)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		live := t.Root.Child("live")
		ok(t, t.ZFS.Clone(t.Context(), base, live, with(ours, "mountpoint", t.TempDir()+"/live")))
		t.mount(live)
		t.Write(t, live, 100*kib)
		spec := t.spec(t.snap(live), base)
		wantErr(t, t.transfer(spec, to, nil, -1), messages.ErrExists)
		branch := t.Root.Child("branch")
		ok(t, t.transfer(spec, branch, lineage, -1))
		diff(t, t.guid(t.info(branch).Origin), spec.From)
		diff(t, t.contentOf(branch.Snapshot(spec.Target.Short())), t.Content(t, live))
		// From here on the branch has a history of its own, and increments go on.
		t.Write(t, live, 100*kib)
		next := t.spec(t.snap(live), spec.Target)
		ok(t, t.transfer(next, branch, nil, -1))
		diff(t, len(t.history(branch)), 2)
	},
	"a clone's increment from a bookmark of its origin is received in place, and resumed": func(t *T) {
		d := t.data("d")
		t.Write(t, d, 100*kib)
		oldest := t.snap(d)
		t.Write(t, d, 100*kib)
		origin := t.snap(d)
		c := t.Root.Child("c")
		ok(t, t.ZFS.Clone(t.Context(), origin, c, with(ours, "mountpoint", t.TempDir()+"/c")))
		t.mount(c)
		for _, s := range []messages.SnapshotName{oldest, origin} {
			ok(t, t.ZFS.BookmarkIn(t.Context(), s, c, s.Short()))
		}
		t.Write(t, c, mib)
		newest := t.snap(c)
		for i, base := range []messages.SnapshotName{origin, oldest} {
			into := t.Root.Child(messages.RelName([]string{"follower", "laggard"}[i]))
			ok(t, t.transfer(t.spec(oldest, ""), into, lineage, -1))
			if base == origin {
				ok(t, t.transfer(t.spec(origin, oldest), into, nil, -1))
			}
			s := t.spec(newest, messages.SnapshotName(string(c)+"#"+base.Short()))
			wantErr(t, t.transfer(s, into, nil, 300*kib), messages.ErrStreamCut)
			s.Token = t.info(into).Token
			ok(t, t.transfer(s, into, nil, -1))
			diff(t, t.guid(into.Snapshot(newest.Short())), t.guid(newest))
			diff(t, t.contentOf(into.Snapshot(newest.Short())), t.contentOf(newest))
		}
	},
}
