package pgops

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

const (
	standbySignal = "standby.signal"
	autoConf      = "postgresql.auto.conf"
	labelFile     = "backup_label"
	mapFile       = "tablespace_map"
)

// emptiedDirs lose their contents, not themselves (basebackup.c,
// excludeDirContents). The primary's slots are the dangerous ones: on the standby
// they would retain WAL for ever (PG-4c).
var emptiedDirs = []string{
	"pg_stat_tmp", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans",
}

// removedFiles belong to the primary's process (PG-4b), to another backup or to
// another kind of recovery. standby.signal is not among them: it is there from
// the first step on.
var removedFiles = []string{
	"postmaster.pid", "postmaster.opts", "postgresql.auto.conf.tmp", "current_logfiles", "current_logfiles.tmp",
	labelFile, labelFile + ".old", mapFile, mapFile + ".old", "backup_manifest",
	"recovery.conf", "recovery.done", "recovery.signal",
}

// markStandby is the first change to the copy: from here on whatever starts it,
// starts it as a standby (PG-9).
func (c *copied) markStandby() error {
	info, err := c.root.Lstat(standbySignal)
	switch {
	case err == nil && info.Mode().IsRegular():
		return nil
	case err == nil:
		return fmt.Errorf("%s is not a regular file", standbySignal)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return create(c.root, standbySignal, fileMode, nil, c.setup.UID, c.setup.GID)
}

// clean removes what must not come along, and looks again.
func (c *copied) clean() error {
	stale, err := c.stale()
	if err != nil {
		return err
	}
	changed := map[string]bool{".": true}
	for _, name := range stale {
		if err := remove(c.root, name); err != nil {
			return err
		}
		changed[path.Dir(name)] = true
	}
	if err := c.restoreDirs(); err != nil {
		return err
	}
	for dir := range changed {
		if err := syncDir(c.root, dir); err != nil {
			return err
		}
	}
	if stale, err = c.stale(); err != nil {
		return err
	}
	if len(stale) > 0 {
		return fmt.Errorf("%s is still there", strings.Join(stale, ", "))
	}
	return nil
}

// stale lists what must go.
func (c *copied) stale() ([]string, error) {
	var out []string
	for _, name := range removedFiles {
		if _, err := c.root.Lstat(name); err == nil {
			out = append(out, name)
		}
	}
	for _, dir := range emptiedDirs {
		names, err := c.emptied(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	for _, dir := range []string{"base", "global", "pg_tblspc"} {
		names, err := c.temporary(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	return out, nil
}

// emptied lists a directory's contents, or the directory itself when it is a link
// (to a RAM disk, usually): what it points to is not the copy's.
func (c *copied) emptied(dir string) ([]string, error) {
	info, err := c.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{dir}, nil
	}
	list, err := entries(c.root, dir)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = path.Join(dir, e.Name())
	}
	return out, nil
}

// temporary finds temporary and cache files below dir. Links, which is what
// tablespaces are, are not followed.
func (c *copied) temporary(dir string) ([]string, error) {
	list, err := entries(c.root, dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		name := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "pgsql_tmp"), strings.HasPrefix(e.Name(), "pg_internal.init"):
			out = append(out, name)
		case e.IsDir():
			inner, err := c.temporary(name)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		}
	}
	return out, nil
}

// restoreDirs puts a directory where a link was removed; PostgreSQL insists on
// most of them.
func (c *copied) restoreDirs() error {
	for _, dir := range emptiedDirs {
		if _, err := c.root.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			if err := makeDir(c.root, dir, c.setup.UID, c.setup.GID); err != nil {
				return err
			}
		}
	}
	return nil
}
