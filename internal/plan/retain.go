package plan

import (
	"slices"

	"github.com/pgresync/pgresync/messages"
)

// Keep says how many of our versions of a dataset to keep.
type Keep struct {
	// Snapshots is how many of the newest stay; less than 1 counts as 1.
	Snapshots int
	// Cramped is that there is no room for any: only those in use stay, and of the
	// others a bookmark, beyond the number of Bookmarks.
	Cramped bool
	// Stays is that the dataset is not sent: of it nothing is kept but what is in use.
	Stays bool
	// Bookmarks is how many points stay as a bookmark after their snapshot has gone,
	// so that a standby that was away can still be sent an increment.
	Bookmarks int
	// InUse are never destroyed: held, a base or target of a running stream, an
	// origin of a clone.
	InUse map[messages.GUID]bool
	// Bases stay at least as a bookmark, and are not counted among Bookmarks: some
	// standby has nothing newer.
	Bases map[messages.GUID]bool
}

// Retain decides what of one dataset's history may go. Only versions with our
// names are ever listed (I-2). Each of bookmark is to be bookmarked before anything
// of destroy is destroyed; destroy holds snapshots and bookmarks, oldest first.
func Retain(h messages.History, k Keep) (destroy, bookmark []messages.Snapshot) {
	ours := oursOf(h)
	gone := surplus(ours, k)
	snapshots := map[messages.GUID]bool{} // that stay
	bookmarked := map[messages.GUID]bool{}
	for _, s := range ours {
		switch {
		case s.Bookmark:
			bookmarked[s.GUID] = true
		case !gone[s.GUID]:
			snapshots[s.GUID] = true
		}
	}
	spare := max(k.Bookmarks, 0)
	if k.Cramped {
		// A bookmark pins nothing: no increment is to be lost for want of room.
		spare += max(k.Snapshots, 1)
	}
	counted := 0
	points := map[messages.GUID]bool{} // that stay as a bookmark
	marked := map[messages.GUID]bool{} // that have had a bookmark already
	for _, s := range slices.Backward(ours) {
		again := s.Bookmark && marked[s.GUID]
		marked[s.GUID] = marked[s.GUID] || s.Bookmark
		switch {
		case again && !k.InUse[s.GUID]:
			// After a promotion a dataset may have two bookmarks of one version.
			destroy = append(destroy, s)
			continue
		case snapshots[s.GUID]:
			continue
		case k.Stays, points[s.GUID]:
		case k.Bases[s.GUID]:
			points[s.GUID] = true
		case counted < spare:
			counted++
			points[s.GUID] = true
		}
		if points[s.GUID] && !s.Bookmark && !bookmarked[s.GUID] {
			bookmark = append(bookmark, s)
		}
		if !s.Bookmark || !points[s.GUID] && !k.InUse[s.GUID] {
			destroy = append(destroy, s)
		}
	}
	slices.Reverse(destroy)
	slices.Reverse(bookmark)
	return destroy, bookmark
}

// surplus are the snapshots beyond the newest k.Snapshots that nobody uses.
func surplus(ours messages.History, k Keep) map[messages.GUID]bool {
	gone, seen := map[messages.GUID]bool{}, 0
	most := max(k.Snapshots, 1)
	if k.Cramped || k.Stays {
		most = 0
	}
	for _, s := range slices.Backward(ours) {
		if s.Bookmark {
			continue
		}
		if seen++; seen > most && !k.InUse[s.GUID] {
			gone[s.GUID] = true
		}
	}
	return gone
}

func oursOf(h messages.History) messages.History {
	var ours messages.History
	for _, s := range h {
		if _, ok := messages.SnapshotIDOf(s.Name); ok {
			ours = append(ours, s)
		}
	}
	ours.Sort()
	return ours
}
