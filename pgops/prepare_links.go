package pgops

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/pgresync/pgresync/messages"
)

const (
	walDir        = "pg_wal"
	tablespaceDir = "pg_tblspc"
)

// placeWAL makes pg_wal what it is to be: a directory in the copy, a mount point,
// or a link to the final place.
func (c *copied) placeWAL() error {
	s := c.setup
	if s.WALDir != "" && s.WALLink {
		if err := link(c.root, walDir, s.WALDir, s.UID, s.GID); err != nil {
			return err
		}
	} else if err := c.walDirectory(); err != nil {
		return err
	}
	if !s.EmptyWAL {
		return nil
	}
	if s.WALDir == "" || s.WALStaged == "" {
		return c.emptyWAL(c.root, walDir)
	}
	// A fresh dataset is empty, and the publisher's WAL may live in a directory of its.
	if err := os.MkdirAll(s.WALStaged, 0o700); err != nil {
		return err
	}
	staged, err := openDir(s.WALStaged)
	if err != nil {
		return err
	}
	defer func() { _ = staged.Close() }() // nothing is written through it
	// It gets its owner there, once it is seen to be empty, and not by its name.
	return c.emptyWAL(staged, ".")
}

// walDirectory makes pg_wal a directory. The primary's link, which has no business
// here, is replaced only when no WAL was to come along.
func (c *copied) walDirectory() error {
	info, err := c.root.Lstat(walDir)
	if err == nil && info.IsDir() {
		return nil
	}
	if !c.setup.EmptyWAL && c.setup.WALDir == "" {
		return fmt.Errorf("%w: pg_wal should have come along, but is not a directory in the copy", messages.ErrRefused)
	}
	if err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%w: pg_wal is a file", messages.ErrRefused)
	}
	if err := remove(c.root, walDir); err != nil {
		return err
	}
	return makeDir(c.root, walDir, c.setup.UID, c.setup.GID)
}

// emptyWAL makes the directories that PostgreSQL expects in pg_wal; summaries came
// with 17. WAL of another time would be replayed, so any is a reason to stop.
func (c *copied) emptyWAL(root *os.Root, dir string) error {
	inside := []string{"archive_status"}
	if c.major >= 17 {
		inside = append(inside, "summaries")
	}
	list, err := entries(root, dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if !e.IsDir() || !slices.Contains(inside, e.Name()) {
			return fmt.Errorf("%w: pg_wal is to be empty, but holds %s", messages.ErrRefused, e.Name())
		}
	}
	if err := makeDir(root, dir, c.setup.UID, c.setup.GID); err != nil {
		return err
	}
	for _, name := range inside {
		if err := makeDir(root, path.Join(dir, name), c.setup.UID, c.setup.GID); err != nil {
			return err
		}
	}
	return nil
}

// linkTablespaces points every tablespace to its final path, in pg_tblspc and in
// the map, from which PostgreSQL makes the links once more.
func (c *copied) linkTablespaces() (err error) {
	s := c.setup
	if c.tablespaceMap, c.tablespaces, err = rewriteTablespaceMap(s.TablespaceMap, s.Tablespaces); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, t := range c.tablespaces {
		if inside(s.FinalDataDir, t.Path) {
			return fmt.Errorf("%w: tablespace %d would lie inside the data directory", messages.ErrRefused, t.OID)
		}
		name := strconv.FormatUint(uint64(t.OID), 10)
		known[name] = true
		if err := link(c.root, path.Join(tablespaceDir, name), t.Path, s.UID, s.GID); err != nil {
			return err
		}
	}
	list, err := entries(c.root, tablespaceDir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Type()&fs.ModeSymlink != 0 && !known[e.Name()] {
			return fmt.Errorf("%w: tablespace %s is linked but not in the backup's map", messages.ErrRefused, e.Name())
		}
	}
	return nil
}

func inside(dir, p string) bool {
	rel, err := filepath.Rel(dir, p)
	return dir != "" && err == nil && filepath.IsLocal(rel)
}
