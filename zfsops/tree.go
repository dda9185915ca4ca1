package zfsops

import (
	"errors"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// tree is a dataset with everything below it, as values to decide upon.
type tree struct {
	infos     []messages.DatasetInfo // parents first
	snapshots map[messages.Dataset][]treeSnapshot
	bookmarks []messages.SnapshotName
}

type treeSnapshot struct {
	name   messages.SnapshotName
	held   bool
	clones []messages.Dataset
}

func parseTree(infos []messages.DatasetInfo, snapshots, bookmarks []byte) (*tree, error) {
	t := &tree{infos: infos, snapshots: map[messages.Dataset][]treeSnapshot{}}
	rows, err1 := parseTable(snapshots, 3)
	marks, err2 := parseTable(bookmarks, 1)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for _, row := range rows {
		s := treeSnapshot{name: messages.SnapshotName(row[0]), held: row[1] != "0" && row[1] != "-"}
		for name := range strings.SplitSeq(orEmpty(row[2]), ",") {
			if name != "" {
				s.clones = append(s.clones, messages.Dataset(name))
			}
		}
		d := s.name.Dataset()
		t.snapshots[d] = append(t.snapshots[d], s)
	}
	for _, row := range marks {
		t.bookmarks = append(t.bookmarks, messages.SnapshotName(row[0]))
	}
	return t, nil
}

// recvClone is the hidden dataset that holds a partial increment; it counts as
// a clone of the base, and goes with the abort of the receive.
const recvClone = "/%recv"

// destroyOrder refuses the whole tree, or gives the order in which its file
// systems can be destroyed one by one: children before parents, clones before
// their origins.
func (t *tree) destroyOrder(a act) ([]messages.DatasetInfo, error) {
	if err := t.check(a); err != nil {
		return nil, err
	}
	var order []messages.DatasetInfo
	left := slices.Clone(t.infos)
	slices.Reverse(left)
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(d messages.DatasetInfo) bool { return t.isLeaf(d.Name, left) })
		if i < 0 {
			// A parent that is a clone of its own child: untying them takes a promote,
			// which is not for a destroy to do.
			return nil, a.is(messages.ErrBusy, "%s and others depend on each other as parents and clones", left[0].Name)
		}
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return order, nil
}

// isLeaf reports whether no dataset that is left lies below d or is a clone of
// one of its snapshots.
func (t *tree) isLeaf(d messages.Dataset, left []messages.DatasetInfo) bool {
	for _, other := range left {
		if _, below := other.Name.Rel(d); other.Name != d && (below || other.Origin.Dataset() == d) {
			return false
		}
	}
	return true
}

func (t *tree) check(a act) error {
	inside := map[messages.Dataset]bool{}
	for _, d := range t.infos {
		inside[d.Name] = true
		switch {
		case d.Marks[messages.PropCluster] == "":
			return a.is(messages.ErrNotOurs, "%s has no %s of its own", d.Name, messages.PropCluster)
		case d.Mounted:
			return a.is(messages.ErrBusy, "%s is mounted at %s: unmount it first", d.Name, d.Mountpoint)
		}
	}
	for _, b := range t.bookmarks {
		if _, ok := messages.SnapshotIDOf(b); !ok {
			return a.is(messages.ErrNotOurs, "bookmark %s is foreign", b)
		}
	}
	for _, all := range t.snapshots {
		for _, s := range all {
			if err := s.check(a, inside); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *treeSnapshot) check(a act, inside map[messages.Dataset]bool) error {
	if _, ok := messages.SnapshotIDOf(s.name); !ok {
		return a.is(messages.ErrNotOurs, "snapshot %s is foreign", s.name)
	}
	if s.held {
		return a.is(messages.ErrBusy, "snapshot %s is held: zfs holds lists the holders", s.name)
	}
	for _, c := range s.clones {
		if base, _ := strings.CutSuffix(string(c), recvClone); !inside[messages.Dataset(base)] {
			return a.is(messages.ErrBusy, "%s outside of it is a clone of %s", c, s.name)
		}
	}
	return nil
}
