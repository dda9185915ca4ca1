package plan

import (
	"slices"

	"github.com/pgresync/pgresync/messages"
)

// Inherited are the versions of ancestors, at most most of them, that a clone with
// history own should have as bookmarks of its own when its node begins to publish:
// what other nodes have in common with it lies there. ancestors are the versions, up
// to and including the origin, of all that the clone descends from. The newest come
// first: if not all can be had, they matter most.
func Inherited(own, ancestors messages.History, most int) []messages.Snapshot {
	have := map[messages.GUID]bool{}
	for _, s := range own {
		have[s.GUID] = true
	}
	ours := oursOf(ancestors)
	// Newest first, and a snapshot before its bookmark, which may go before it does.
	slices.SortStableFunc(ours, func(a, b messages.Snapshot) int {
		switch {
		case a.CreateTXG > b.CreateTXG:
			return -1
		case a.CreateTXG < b.CreateTXG:
			return 1
		}
		return 0
	})
	var out []messages.Snapshot
	for _, s := range ours {
		if !have[s.GUID] && len(out) < most {
			have[s.GUID] = true
			out = append(out, s)
		}
	}
	return out
}
