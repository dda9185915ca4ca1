package plan

import (
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Kin is a lineage with what descends from it.
type Kin struct {
	// Root is the lineage's, Live the live dataset; what is set aside is named after
	// Live.
	Root, Live messages.Dataset
	// Datasets are those below Root.
	Datasets []messages.DatasetInfo
	// Origin is the live dataset's, "" when it is no clone.
	Origin messages.SnapshotName
	// GoesOn says that the publisher has yet what was last received in part.
	GoesOn bool
	// Histories are those of Datasets and of the datasets that they are clones of.
	Histories map[messages.Dataset]messages.History
}

// Upkeep is what makes one branch own the whole history of the live copy, and
// frees the lineage of the others. Drop comes first and Destroy last; a service
// looks again between Promote and Destroy.
type Upkeep struct {
	// Drop are bookmarks that a promotion would move onto the same one.
	Drop []messages.SnapshotName
	// Promote are clones to be promoted (zfs-promote(8)).
	Promote []messages.Dataset
	// Destroy are branches that no live copy needs, relative to Root.
	Destroy []messages.RelName
}

// Tend decides about a lineage at rest: no resync is on its way. The branch that
// the live copy was cloned from takes over, by promotion, what it shares with older
// branches and with a former live copy that was set aside; then an older branch has
// nothing that is needed, and the copy set aside depends on the branch and not the
// other way round, so that its operator may destroy it.
func Tend(k Kin) Upkeep {
	current := k.branch(k.Origin.Dataset())
	if current == "" {
		return Upkeep{}
	}
	var u Upkeep
	for _, d := range k.Datasets {
		if k.branch(d.Name) != current || d.Origin == "" || !k.mayGive(d.Origin.Dataset()) {
			continue
		}
		drop, ok := k.clear(d)
		if !ok {
			continue
		}
		u.Drop = append(u.Drop, drop...)
		u.Promote = append(u.Promote, d.Name)
	}
	if len(u.Promote) == 0 {
		u.Destroy = k.spare(current)
	}
	return u
}

// branch is the branch that d is in, "" when it is in none.
func (k Kin) branch(d messages.Dataset) messages.RelName {
	rel, ok := d.Rel(k.Root)
	if !ok {
		return ""
	}
	top, _, _ := strings.Cut(string(rel), "/")
	return messages.RelName(top)
}

// mayGive: only what is ours to arrange. A promotion takes snapshots away from
// where they are.
func (k Kin) mayGive(d messages.Dataset) bool {
	return k.branch(d) != "" || strings.HasPrefix(string(d), string(k.Live)+".pgresync-")
}

// clear finds the bookmarks that d and its origin both have. OpenZFS 2.3.9 does not
// refuse such a promotion, it halts the pool. One name for two snapshots is nothing
// that we make, and is left alone.
func (k Kin) clear(d messages.DatasetInfo) (drop []messages.SnapshotName, ok bool) {
	have := map[string]messages.GUID{}
	for _, s := range k.Histories[d.Name] {
		if s.Bookmark {
			have[s.Name.Short()] = s.GUID
		}
	}
	for _, s := range k.Histories[d.Origin.Dataset()] {
		guid, both := have[s.Name.Short()]
		if !s.Bookmark || !both {
			continue
		}
		if _, ours := messages.SnapshotIDOf(s.Name); !ours || guid != s.GUID {
			return nil, false
		}
		drop = append(drop, s.Name)
	}
	return drop, true
}

// spare are the branches that nothing alive descends from. One that is ahead of
// current was received for a switch that is yet to come, and so is one that has a
// partial receive, without a snapshot perhaps: the next pass goes on with it, or
// removes it (I-11).
func (k Kin) spare(current messages.RelName) []messages.RelName {
	newest, needed := map[messages.RelName]messages.TXG{}, map[messages.RelName]bool{current: true}
	var names []messages.RelName
	for _, d := range k.Datasets {
		name := k.branch(d.Name)
		if name == "" {
			continue
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		needed[name] = needed[name] || k.GoesOn && d.Token != ""
		if s, ok := newestSnapshot(k.Histories[d.Name]); ok {
			newest[name] = max(newest[name], s.CreateTXG)
		}
		if from := k.branch(d.Origin.Dataset()); from != name {
			needed[from] = true
		}
	}
	return slices.DeleteFunc(names, func(n messages.RelName) bool {
		return needed[n] || newest[n] > newest[current]
	})
}
