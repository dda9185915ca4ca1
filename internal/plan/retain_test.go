package plan_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestRetain(t *testing.T) {
	for _, tt := range []struct {
		name                string
		history             string
		snapshots, keep     int
		inUse               string
		destroy, toBookmark string
	}{
		{"nothing", "", 2, 2, "", "", ""},
		{"as many as wanted", "@a1 @b2", 2, 0, "", "", ""},
		{"the oldest go", "@a1 @b2 @c3 @d4", 2, 0, "", "@a1 @b2", ""},
		{"order is the txg", "@d4 @a1 @c3 @b2", 2, 0, "", "@a1 @b2", ""},
		{"the newest stays, whatever is asked", "@a1 @b2", 0, -1, "", "@a1", ""},
		{"foreign ones neither go nor count", "@A1 @a2 @B3 @b4 #C5", 1, 0, "", "@a2", ""},
		{"those in use stay", "@a1 @b2 @c3", 1, 0, "a", "@b2", ""},
		{"a bookmark is left behind", "@a1 @b2 @c3", 1, 1, "", "@a1 @b2", "@b2"},
		{"one that has its bookmark needs none", "@a1 #a1 @b2 @c3", 1, 2, "", "@a1 @b2", "@b2"},
		{"old bookmarks go", "#a1 #b2 #c3 @d4", 1, 2, "", "#a1", ""},
		{"bookmarks in use stay", "#a1 #b2 #c3 @d4", 1, 1, "a", "#b2", ""},
		{"foreign bookmarks stay", "#A1 #b2 @c3", 1, 0, "", "#b2", ""},
		{"bookmarks of kept snapshots neither go nor count", "#a1 @b2 #b2 @c3 #c3", 2, 1, "", "", ""},
		{"snapshot and bookmark of one version take one place", "#a1 @b2 #b2 @c3", 1, 2, "", "@b2", ""},
		{"a standby's base leaves a bookmark, whatever is asked", "@o1 @b2 @c3", 1, 0, "", "@o1 @b2", "@o1"},
		{"bookmarks of bases stay and do not count", "#o1 #p2 #a3 #b4 @c5", 1, 1, "", "#a3", ""},
		{"one bookmark of a version is enough", "#a1 #a1 @b2 #b2 #b2", 1, 9, "", "#a1 #b2", ""},
		{"without bookmarks both go", "@a1 #a1 @b2", 1, 0, "", "@a1 #a1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := plan.Keep{Snapshots: tt.snapshots, Bookmarks: tt.keep, InUse: map[messages.GUID]bool{}}
			for i := range len(tt.inUse) {
				k.InUse[guid(tt.inUse[i])] = true
			}
			k.Bases = map[messages.GUID]bool{guid('o'): true, guid('p'): true}
			destroy, bookmark := plan.Retain(history(t, tt.history), k)
			if write(destroy) != tt.destroy || write(bookmark) != tt.toBookmark {
				t.Errorf("destroy %q, bookmark %q, want %q and %q", write(destroy), write(bookmark), tt.destroy, tt.toBookmark)
			}
		})
	}
}

func TestRetainWithoutRoom(t *testing.T) {
	for _, tt := range []struct {
		name                string
		history             string
		keep                int
		inUse               string
		destroy, toBookmark string
	}{
		{"all snapshots go, their bookmarks stay", "@a1 #a1 @b2 #b2 @c3 #c3", 0, "", "@a1 @b2 @c3", ""},
		{"one that has no bookmark leaves one", "@a1 @b2 #b2", 0, "", "@a1 @b2", "@a1"},
		{"what is being sent stays", "@a1 #a1 @b2 #b2 @c3 #c3", 0, "b", "@a1 @c3", ""},
		{"older bookmarks are not crowded out", "#a1 #b2 @c3 #c3 @d4 #d4", 2, "", "@c3 @d4", ""},
		{"and do not become more for it", "#a1 #b2 #c3 #d4 @e5 #e5 @f6 #f6", 1, "", "#a1 #b2 @e5 @f6", ""},
		{"foreign ones stay", "@A1 @b2 #b2", 0, "", "@b2", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := plan.Keep{Snapshots: 3, Cramped: true, Bookmarks: tt.keep, InUse: map[messages.GUID]bool{}}
			for i := range len(tt.inUse) {
				k.InUse[guid(tt.inUse[i])] = true
			}
			destroy, bookmark := plan.Retain(history(t, tt.history), k)
			if write(destroy) != tt.destroy || write(bookmark) != tt.toBookmark {
				t.Errorf("destroy %q, bookmark %q, want %q and %q", write(destroy), write(bookmark), tt.destroy, tt.toBookmark)
			}
		})
	}
}

func TestRetainKeepsNothingOfWhatIsNotSent(t *testing.T) {
	k := plan.Keep{Snapshots: 3, Bookmarks: 3, Stays: true, InUse: map[messages.GUID]bool{guid('c'): true}, Bases: map[messages.GUID]bool{guid('b'): true}}
	destroy, bookmark := plan.Retain(history(t, "#a1 @A1 @b2 #b2 @c3 @d4"), k)
	if got, want := write(destroy), "#a1 @b2 #b2 @d4"; got != want || len(bookmark) > 0 {
		t.Errorf("destroy %q, bookmark %q, want %q and nothing", got, write(bookmark), want)
	}
}

func TestRetainKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h messages.History
		k := plan.Keep{
			Snapshots: rapid.IntRange(-1, 4).Draw(t, "snapshots"), Bookmarks: rapid.IntRange(-1, 4).Draw(t, "bookmarks"),
			InUse: map[messages.GUID]bool{}, Bases: map[messages.GUID]bool{}, Cramped: rapid.Bool().Draw(t, "cramped"), Stays: rapid.Bool().Draw(t, "stays"),
		}
		for i := range rapid.IntRange(0, 12).Draw(t, "points") {
			c := byte('a' + i)
			if rapid.IntRange(0, 3).Draw(t, "foreign") == 0 {
				c = byte('A' + i)
			}
			for _, kind := range rapid.SampledFrom([]string{"@", "#", "@#"}).Draw(t, "kind") {
				h = append(h, version(c, messages.TXG(i+1), kind == '#'))
			}
			k.InUse[guid(c)] = rapid.IntRange(0, 4).Draw(t, "used") == 0
			k.Bases[guid(c)] = rapid.IntRange(0, 4).Draw(t, "base") == 0
		}
		destroy, bookmark := plan.Retain(rapid.Permutation(h).Draw(t, "order"), k)
		var newest messages.Snapshot
		for _, s := range h {
			if _, ours := messages.SnapshotIDOf(s.Name); ours && !s.Bookmark {
				newest = s
			}
		}
		for _, s := range destroy {
			if _, ours := messages.SnapshotIDOf(s.Name); !ours || k.InUse[s.GUID] || s == newest && !k.Cramped && !k.Stays || !slices.Contains(h, s) {
				t.Fatalf("destroys %s", write([]messages.Snapshot{s}))
			}
		}
		left := slices.DeleteFunc(slices.Clone(h), func(s messages.Snapshot) bool { return slices.Contains(destroy, s) })
		for _, s := range bookmark {
			if s.Bookmark || !slices.Contains(destroy, s) || slices.ContainsFunc(h, func(o messages.Snapshot) bool { return o.Bookmark && o.GUID == s.GUID }) {
				t.Fatalf("bookmarks %s", write([]messages.Snapshot{s}))
			}
			b := s
			b.Bookmark, b.Name = true, messages.SnapshotName("tank/pg#"+s.Name.Short())
			left = append(left, b)
		}
		for _, s := range h {
			_, ours := messages.SnapshotIDOf(s.Name)
			if _, there := left.ByGUID(s.GUID); ours && k.Bases[s.GUID] && !k.Stays && !there {
				t.Fatalf("a standby's base is gone: %s", write([]messages.Snapshot{s}))
			}
		}
		if more, marks := plan.Retain(left, k); len(more)+len(marks) > 0 {
			t.Fatalf("a second round has more to do: %s, %s", write(more), write(marks))
		}
	})
}
