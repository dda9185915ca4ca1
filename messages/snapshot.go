package messages

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Dataset is the full name of a ZFS file system, pool first: "tank/pg data".
// Spaces are legal in ZFS names and kept. Construct by ParseDataset only.
type Dataset string

// maxNameLen is ZFS_MAX_DATASET_NAME_LEN without the final NUL
// (OpenZFS 2.3 include/sys/fs/zfs.h).
const maxNameLen = 255

// ParseDataset checks s against ZFS's rules for file system names.
func ParseDataset(s string) (Dataset, error) {
	if err := checkZFSPath(s); err != nil {
		return "", fmt.Errorf("dataset name %q: %w", clip(s), err)
	}
	return Dataset(s), nil
}

// checkZFSPath follows entity_namecheck (OpenZFS 2.3 module/zcommon/zfs_namecheck.c).
func checkZFSPath(s string) error {
	if s == "" || len(s) > maxNameLen {
		return fmt.Errorf("want 1 to %d bytes", maxNameLen)
	}
	for part := range strings.SplitSeq(s, "/") {
		if err := checkZFSComponent(part); err != nil {
			return err
		}
	}
	return nil
}

func checkZFSComponent(s string) error {
	switch s {
	case "":
		return errors.New("empty component (a slash at an end, or two in a row)")
	case ".", "..":
		return errors.New("a component is a single or a double dot")
	}
	// A leading dash would be read as an option by the zfs command.
	if s[0] == '-' {
		return errors.New("component begins with '-'")
	}
	for i := range len(s) {
		if c := s[i]; !isLowerAlnum(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("-_.: ", rune(c)) {
			return fmt.Errorf("character %q is not allowed (letters, digits, '-', '_', '.', ':' and space are)", c)
		}
	}
	return nil
}

// Pool is the first component.
func (d Dataset) Pool() string {
	pool, _, _ := strings.Cut(string(d), "/")
	return pool
}

// Parent is the dataset above, "" for a pool's root.
func (d Dataset) Parent() Dataset {
	if i := strings.LastIndexByte(string(d), '/'); i >= 0 {
		return d[:i]
	}
	return ""
}

// Child joins a relative name; rel "" is d itself.
func (d Dataset) Child(rel RelName) Dataset {
	if rel == "" {
		return d
	}
	return d + "/" + Dataset(rel)
}

// Rel is d's name relative to root, and whether d is root or below it.
func (d Dataset) Rel(root Dataset) (RelName, bool) {
	if d == root {
		return "", true
	}
	rel, ok := strings.CutPrefix(string(d), string(root)+"/")
	return RelName(rel), ok
}

// Snapshot names a snapshot of d.
func (d Dataset) Snapshot(short string) SnapshotName { return SnapshotName(string(d) + "@" + short) }

// UnmarshalText parses and checks.
func (d *Dataset) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDataset(string(b))
	return err
}

// RelName is a dataset's name relative to a root, "" for the root itself.
type RelName string

// ParseRelName checks s; the empty name is the root.
func ParseRelName(s string) (RelName, error) {
	if s == "" {
		return "", nil
	}
	if err := checkZFSPath(s); err != nil {
		return "", fmt.Errorf("relative dataset name %q: %w", clip(s), err)
	}
	return RelName(s), nil
}

// UnmarshalText parses and checks.
func (r *RelName) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRelName(string(b))
	return err
}

// SnapshotName is "dataset@short", or "dataset#short" for a bookmark.
type SnapshotName string

// ParseSnapshotName checks s; both '@' and '#' are accepted.
func ParseSnapshotName(s string) (SnapshotName, error) {
	i := strings.IndexAny(s, "@#")
	if i < 0 {
		return "", fmt.Errorf("snapshot name %q: no '@' or '#'", clip(s))
	}
	if err := checkZFSPath(s[:i]); err != nil {
		return "", fmt.Errorf("snapshot name %q: %w", clip(s), err)
	}
	if err := checkZFSComponent(s[i+1:]); err != nil {
		return "", fmt.Errorf("snapshot name %q: %w", clip(s), err)
	}
	if len(s) > maxNameLen {
		return "", fmt.Errorf("snapshot name %q: want at most %d bytes", clip(s), maxNameLen)
	}
	return SnapshotName(s), nil
}

// Dataset is the part before '@' or '#'.
func (n SnapshotName) Dataset() Dataset {
	if i := strings.IndexAny(string(n), "@#"); i >= 0 {
		return Dataset(n[:i])
	}
	return Dataset(n)
}

// Short is the part after '@' or '#'.
func (n SnapshotName) Short() string {
	if i := strings.IndexAny(string(n), "@#"); i >= 0 {
		return string(n[i+1:])
	}
	return ""
}

// IsBookmark reports whether the name is of a bookmark.
func (n SnapshotName) IsBookmark() bool {
	i := strings.IndexAny(string(n), "@#")
	return i >= 0 && n[i] == '#'
}

// GUID is a snapshot's identity: it survives send and receive, and a bookmark
// has the GUID of its snapshot (zfsprops(7), guid). 0 is no snapshot.
type GUID uint64

// ParseGUID reads the decimal form of `zfs get -p guid`.
func ParseGUID(s string) (GUID, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse GUID %q: want a decimal number", clip(s))
	}
	return GUID(v), nil
}

// String is decimal.
func (g GUID) String() string { return strconv.FormatUint(uint64(g), 10) }

// MarshalText is decimal.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads the decimal form.
func (g *GUID) UnmarshalText(b []byte) (err error) {
	*g, err = ParseGUID(string(b))
	return err
}

// TXG is a transaction group number. It orders the snapshots of one pool and
// means nothing between pools.
type TXG uint64

// MarshalText is decimal.
func (t TXG) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(t), 10), nil }

// UnmarshalText reads the decimal form.
func (t *TXG) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("parse txg %q: want a decimal number", clip(string(b)))
	}
	*t = TXG(v)
	return nil
}

// Snapshot is one version of a dataset: a snapshot, or a bookmark, which can
// only be the base of a send. Identity is GUID, order is CreateTXG, Name is for
// people.
type Snapshot struct {
	Name      SnapshotName `json:"name"`
	GUID      GUID         `json:"guid"`
	CreateTXG TXG          `json:"createtxg"`
	Bookmark  bool         `json:"bookmark,omitempty"`
}

// History is the versions of one dataset, oldest first by CreateTXG.
type History []Snapshot

// Sort orders h by CreateTXG, a snapshot before its bookmark.
func (h History) Sort() {
	slices.SortStableFunc(h, func(a, b Snapshot) int {
		switch {
		case a.CreateTXG != b.CreateTXG:
			if a.CreateTXG < b.CreateTXG {
				return -1
			}
			return 1
		case a.Bookmark == b.Bookmark:
			return 0
		case b.Bookmark:
			return -1
		}
		return 1
	})
}

// ByGUID finds a version; a snapshot is preferred to its bookmark.
func (h History) ByGUID(g GUID) (Snapshot, bool) {
	found, ok := Snapshot{}, false
	for _, s := range h {
		if s.GUID == g && (!ok || found.Bookmark) {
			found, ok = s, true
		}
	}
	return found, ok
}
