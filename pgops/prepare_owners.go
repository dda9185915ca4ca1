package pgops

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// checkOwners looks at the directories in which PostgreSQL makes files: the data
// directory, what it has of its own there, and the tablespaces. What lies deeper
// came from a primary that runs on it; to walk it all would cost what the copy
// saved. Nothing is changed: an owner that is wrong here is wrong there as well.
func (c *copied) checkOwners() error {
	info, err := c.root.Stat(".")
	if err != nil {
		return err
	}
	// checkDataDir in PostgreSQL 15's miscinit.c refuses to start otherwise.
	if extra := info.Mode().Perm() &^ 0o750; extra != 0 || info.Mode().Perm()&dirMode != dirMode {
		return fmt.Errorf("%w: its mode is %04o, PostgreSQL wants 0700 or 0750; chmod the publisher's data directory",
			messages.ErrRefused, info.Mode().Perm())
	}
	if err := c.checkEntries(c.root, ".", ownEntry); err != nil {
		return err
	}
	for _, t := range c.tablespaces {
		if staged := c.setup.TablespacesStaged[t.OID]; staged != "" {
			if err := c.checkTablespace(staged); err != nil {
				return fmt.Errorf("tablespace %d: %w", t.OID, err)
			}
		}
	}
	return nil
}

// checkTablespace checks the directory and the one in it of this major version; a
// tablespace of several versions has more.
func (c *copied) checkTablespace(dir string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if err := c.owned(dir, info); err != nil {
		return err
	}
	version := fmt.Sprintf("PG_%d_", c.major)
	return c.checkEntries(root, dir, func(name string) bool { return strings.HasPrefix(name, version) })
}

func (c *copied) checkEntries(root *os.Root, dir string, ours func(name string) bool) error {
	list, err := entries(root, ".")
	if err != nil {
		return err
	}
	for _, e := range list {
		if !ours(e.Name()) {
			continue
		}
		info, err := root.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink != 0 {
			continue
		}
		if err == nil {
			err = c.owned(dir+"/"+e.Name(), info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *copied) owned(name string, info fs.FileInfo) error {
	want := fs.FileMode(0o600)
	if info.IsDir() {
		want = dirMode
	}
	switch uid := ownerOf(info); {
	case uid != c.setup.UID:
		return fmt.Errorf("%w: %s belongs to user id %d, PostgreSQL runs as %d here; chown it on the publisher", messages.ErrRefused, name, uid, c.setup.UID)
	case info.Mode().Perm()&want != want:
		return fmt.Errorf("%w: the mode of %s is %04o, its owner needs %04o; chmod it on the publisher", messages.ErrRefused, name, info.Mode().Perm(), want)
	}
	return nil
}

// ownEntry tells what is PostgreSQL's own in a data directory from an operator's
// certificates and the like, which may be root's.
func ownEntry(name string) bool {
	return strings.HasPrefix(name, "pg_") && !strings.HasSuffix(name, ".conf") || slices.Contains([]string{"base", "global", "PG_VERSION"}, name)
}
