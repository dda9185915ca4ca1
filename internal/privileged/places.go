package privileged

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// checkPath makes sure that a mount at path arrives there: mount(2) follows links, so
// every directory on the way must be root's, and nobody else's to change. What is
// not there yet is made by root.
func checkPath(path string) error {
	for at, rest := "/", strings.TrimPrefix(path, "/"); ; {
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s: want a directory and no link: mount points are given by their real paths", at)
		case at == path:
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || info.Mode()&0o002 != 0 || info.Mode()&0o020 != 0 && st.Gid != 0 {
			return fmt.Errorf("%s, on the way to %s, can be changed by others than root, who could lead the mount elsewhere: chown root and chmod go-w it, or mount at another place", at, path)
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		at = filepath.Join(at, name)
	}
}

// own gives an empty file system that was just mounted, and is still root's, to the
// user whose it will be. path is one that checkPath was content with.
func own(path string, uid, gid int) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing is written
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		return nil
	}
	if _, err := f.Readdirnames(1); !errors.Is(err, io.EOF) {
		return err
	}
	return f.Chown(uid, gid)
}
