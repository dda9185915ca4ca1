package pgops

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const secret = "the key of all keys"

// traps are what PostgreSQL's user can put in the place of a file.
var traps = map[string]func(t *testing.T, path string) error{
	"a link to a secret": func(t *testing.T, path string) error {
		t.Helper()
		hidden := filepath.Join(t.TempDir(), "hidden")
		return errors.Join(os.WriteFile(hidden, []byte(secret+"\n"), 0o600), os.Symlink(hidden, path))
	},
	"a hard link to a secret": func(_ *testing.T, path string) error { return os.WriteFile(path, []byte(secret+"\n"), 0o600) },
	"a link to a device":      func(_ *testing.T, path string) error { return os.Symlink("/dev/zero", path) },
	"a FIFO":                  func(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o600) },
	"a directory":             func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) },
	"a file of 1 GiB": func(_ *testing.T, path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<30))
	},
}

// promptly fails when do waits for somebody at path.
func promptly(t *testing.T, path string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		t.Error("it waits for ever")
		if f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil { // the other end of a FIFO
			_ = f.Close()
			<-done
		}
	}
}

// Root reads these in a directory that is somebody else's.
func TestNothingElseIsReadInPlaceOfAFile(t *testing.T) {
	for _, reader := range []struct {
		file string
		read func(dir string) error
	}{
		{"postmaster.pid", func(dir string) error { _, _, err := postmasterOf(dir); return err }},
		{"postmaster.pid", func(dir string) error {
			if accepts(dir) {
				return nil
			}
			return errors.New("no")
		}},
		{"PG_VERSION", func(dir string) error { _, err := VersionOf(dir); return err }},
		{"global/pg_control", func(dir string) error {
			_, err := programs{dir: "/nowhere"}.controlData(t.Context(), dir)
			return err
		}},
	} {
		for name, trap := range traps {
			t.Run(reader.file+" is "+name, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, reader.file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), trap(t, path)); err != nil {
					t.Fatal(err)
				}
				promptly(t, path, func() {
					err := reader.read(dir)
					if err == nil {
						t.Error("got no error")
					} else if strings.Contains(err.Error(), "key") {
						t.Errorf("it tells the secret: %v", err)
					}
				})
			})
		}
	}
}

// The look that finds a file and the opening of it are two steps, between which it can
// be exchanged.
func TestOpeningTrustsNoEarlierLook(t *testing.T) {
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := trap(t, path); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = root.Close() }()
			promptly(t, path, func() {
				b, err := readWarily(path, 8)
				if err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("got %q, %v", b, err)
				}
				f, err := root.OpenFile("file", wary, 0)
				if err == nil {
					b, err = readPlain(f, 8)
				}
				if err == nil {
					t.Errorf("beneath a directory: got %q", b)
				}
			})
		})
	}
}

func TestAFIFOIsNoDirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for name, open := range map[string]func() error{
		"list": func() error { _, err := entries(root, "fifo"); return err },
		"sync": func() error { return syncDir(root, "fifo") },
		"make": func() error { return makeDir(root, "fifo", os.Geteuid(), os.Getegid()) },
		"open": func() error { _, err := openDir(path); return err },
	} {
		promptly(t, path, func() {
			if err := open(); !errors.Is(err, syscall.ENOTDIR) {
				t.Errorf("%s: got %v, want ENOTDIR", name, err)
			}
		})
	}
}
