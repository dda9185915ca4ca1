package pgops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/pgresync/pgresync/messages"
)

// keepFiles takes this host's own files over from the previous data directory:
// the copy brought the primary's.
func (c *copied) keepFiles() error {
	if c.setup.KeepFrom == "" || len(c.setup.KeepFiles) == 0 {
		return nil
	}
	from, err := openDir(c.setup.KeepFrom)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // nothing is written through it
	for _, name := range c.setup.KeepFiles {
		if err := c.keep(from, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Keep copies files of the data directory from into the directory to, so that they outlive from. To can then be a setup's KeepFrom. It
// refuses what Prepare would not take over; a file that is not there is no error.
func (p Preparer) Keep(ctx context.Context, from, to string, files []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("keep files of %s in %s: %w", from, to, err) }
	source, err := os.Stat(from)
	if err != nil {
		return fail(err)
	}
	owner, ok := source.Sys().(*syscall.Stat_t)
	if !ok {
		return fail(errors.ErrUnsupported)
	}
	root, err := openDir(to)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	c := copied{root: root, setup: &messages.StandbySetup{KeepFrom: from, KeepFiles: files, UID: int(owner.Uid), GID: int(owner.Gid)}}
	if err := c.keepFiles(); err != nil {
		return fail(err)
	}
	return nil
}

func (c *copied) keep(from *os.Root, name string) error {
	if !filepath.IsLocal(name) || path.Clean(name) != name || isOwnFile(name) {
		return fmt.Errorf("%w: not a file that can be kept", messages.ErrRefused)
	}
	info, err := from.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return c.keepLink(from, name)
	}
	content, err := readSmall(from, name)
	if err != nil {
		return err
	}
	if err := c.parents(path.Dir(name)); err != nil {
		return err
	}
	return replace(c.root, name, info.Mode().Perm(), content, c.setup.UID, c.setup.GID)
}

// keepLink keeps the link itself and does not follow it: a certificate often lies
// outside of the data directory, and so is this host's anyway.
func (c *copied) keepLink(from *os.Root, name string) error {
	target, err := from.Readlink(name)
	if err != nil {
		return err
	}
	if err := c.parents(path.Dir(name)); err != nil {
		return err
	}
	if info, err := c.root.Lstat(name); err == nil && !info.IsDir() {
		if err := c.root.Remove(name); err != nil {
			return err
		}
	}
	return link(c.root, name, target, c.setup.UID, c.setup.GID)
}

// isOwnFile tells what is decided by us or by the copy, never by what was there
// before: a kept pg_control or label would be a disaster.
func isOwnFile(name string) bool {
	top, _, nested := strings.Cut(name, "/")
	switch top {
	case standbySignal, labelFile, mapFile, "recovery.signal", "PG_VERSION", "postmaster.pid":
		return true
	case "global", "base", walDir, tablespaceDir:
		return true
	}
	return nested && strings.HasPrefix(top, "pg_")
}

func (c *copied) parents(dir string) error {
	if dir == "." {
		return nil
	}
	if err := c.parents(path.Dir(dir)); err != nil {
		return err
	}
	if info, err := c.root.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	return makeDir(c.root, dir, c.setup.UID, c.setup.GID)
}

// writeLabel is the last change: with it the copy is complete.
func (c *copied) writeLabel() error {
	if err := create(c.root, labelFile, fileMode, c.setup.BackupLabel, c.setup.UID, c.setup.GID); err != nil {
		return err
	}
	if len(c.tablespaceMap) == 0 {
		return nil
	}
	return create(c.root, mapFile, fileMode, c.tablespaceMap, c.setup.UID, c.setup.GID)
}

// verify reads back what a start depends on (I-4).
func (c *copied) verify() error {
	if info, err := c.root.Lstat(standbySignal); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%s is missing: %w", standbySignal, errors.Join(err, messages.ErrRefused))
	}
	settings, err := readSmall(c.root, autoConf)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(string(settings), ownSettings(c.setup, c.major, runtime.GOOS)) {
		return fmt.Errorf("%s does not end with our settings", autoConf)
	}
	label, err := readSmall(c.root, labelFile)
	if err != nil {
		return err
	}
	if !bytes.Equal(label, c.setup.BackupLabel) { // which checkSetup has parsed
		return fmt.Errorf("%s is not what was written: %w", labelFile, messages.ErrRefused)
	}
	tablespaces, err := readSmall(c.root, mapFile)
	if err != nil {
		return err
	}
	if !bytes.Equal(tablespaces, c.tablespaceMap) {
		return fmt.Errorf("%s is not what was written", mapFile)
	}
	return c.verifyLinks()
}

func (c *copied) verifyLinks() error {
	for _, t := range c.tablespaces {
		name := path.Join(tablespaceDir, fmt.Sprint(t.OID))
		if target, err := c.root.Readlink(name); err != nil || target != t.Path {
			return fmt.Errorf("%s leads to %q, not to %q: %w", name, target, t.Path, errors.Join(err, messages.ErrRefused))
		}
	}
	if c.setup.WALDir == "" || !c.setup.WALLink {
		return nil
	}
	if target, err := c.root.Readlink(walDir); err != nil || target != c.setup.WALDir {
		return fmt.Errorf("%s leads to %q, not to %q: %w", walDir, target, c.setup.WALDir, errors.Join(err, messages.ErrRefused))
	}
	return nil
}
