package pgops

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/pgresync/pgresync/messages"
)

// Modes of what is written: PostgreSQL refuses a data directory that others can
// read, and its own files are 0600 (or 0640 with group access, which the owner
// may give later).
const (
	fileMode fs.FileMode = 0o600
	dirMode  fs.FileMode = 0o700
)

// create writes a new file and has it on disk when it returns. What stands in its
// place is an error: O_EXCL follows no link.
func create(root *os.Root, name string, mode fs.FileMode, content []byte, uid, gid int) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	// The owner is set through the open file: a name could be swapped meanwhile.
	err = errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return syncDir(root, path.Dir(name))
}

// replace is create by way of a temporary name, so that a reader, or a crash,
// meets either the old content or the new.
func replace(root *os.Root, name string, mode fs.FileMode, content []byte, uid, gid int) error {
	temporary := name + ".pgresync-tmp"
	if err := remove(root, temporary); err != nil {
		return err
	}
	if err := create(root, temporary, mode, content, uid, gid); err != nil {
		return err
	}
	if err := root.Rename(temporary, name); err != nil {
		return err
	}
	return syncDir(root, path.Dir(name))
}

// link makes name a symbolic link to target, in place of another link or of an
// empty directory; anything else there is an error.
func link(root *os.Root, name, target string, uid, gid int) error {
	info, err := root.Lstat(name)
	switch {
	case err == nil && info.Mode()&fs.ModeSymlink != 0, err == nil && info.IsDir():
		// Remove takes an empty directory only.
		if err := root.Remove(name); err != nil {
			return err
		}
	case err == nil:
		return fmt.Errorf("%s is neither a link nor a directory", name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := root.Symlink(target, name); err != nil {
		return err
	}
	if err := root.Lchown(name, uid, gid); err != nil {
		return err
	}
	return syncDir(root, path.Dir(name))
}

// makeDir makes a directory that belongs to PostgreSQL; one that is there gets
// owner and mode.
func makeDir(root *os.Root, name string, uid, gid int) error {
	if err := root.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := root.OpenFile(name, directory, 0)
	if err != nil {
		return err
	}
	err = errors.Join(f.Chown(uid, gid), f.Chmod(dirMode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return syncDir(root, path.Dir(name))
}

func syncDir(root *os.Root, name string) error {
	f, err := root.OpenFile(name, directory, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove takes a file, a link or a whole directory away; none is no error.
func remove(root *os.Root, name string) error {
	if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return root.RemoveAll(name)
}

// entries lists a directory; a missing one is empty.
func entries(root *os.Root, name string) ([]fs.DirEntry, error) {
	f, err := root.OpenFile(name, directory, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := f.ReadDir(-1)
	return list, errors.Join(err, f.Close())
}

// maxSmallFile bounds what is read whole, in bytes.
const maxSmallFile = 1 << 20

// readSmall reads a regular file; a missing one is nil.
func readSmall(root *os.Root, name string) ([]byte, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notPlain(name, maxSmallFile)
	}
	f, err := root.OpenFile(name, wary, 0)
	if err != nil {
		return nil, err
	}
	return readPlain(f, maxSmallFile)
}

// How files are opened in whose place PostgreSQL's user can put anything: this process
// may be root, whom a link would lead to what is not that user's, and whom a FIFO
// would keep for ever.
const (
	wary      = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	directory = os.O_RDONLY | syscall.O_DIRECTORY
)

// openDir is os.OpenRoot for such a place: it waits for nobody at a FIFO.
func openDir(path string) (*os.Root, error) { return os.OpenRoot(path + "/.") }

// readWarily reads a regular file of at most the given size. What it holds has no
// place in an error: it may be a hard link to another's.
func readWarily(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, wary, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // a link, in Linux's and in FreeBSD's words
		return nil, notPlain(path, most)
	}
	if err != nil {
		return nil, err
	}
	return readPlain(f, most)
}

// readPlain reads what was opened warily, and closes it. One that grows meanwhile is
// too long as well.
func readPlain(f *os.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return nil, errors.Join(err, notPlain(f.Name(), most), f.Close())
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = notPlain(f.Name(), most)
	}
	return b, errors.Join(err, f.Close())
}

func notPlain(name string, most int64) error {
	return fmt.Errorf("%s: %w: want a regular file, no link, of at most %d bytes; find out who put it there", name, messages.ErrRefused, most)
}
