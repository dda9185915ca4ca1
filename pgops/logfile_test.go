package pgops_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

func loggable(t *testing.T, path string, c pgops.Control) error {
	t.Helper()
	s, err := pgops.NewServer(pgops.ServerOptions{BinDir: "/bin", DataDir: "/nowhere/data", User: pgtest.User(t), LogFile: path, Control: c})
	if err != nil {
		t.Fatal(err)
	}
	return s.Loggable(t.Context())
}

func TestALogFileThatCanBeWritten(t *testing.T) {
	dir := pgtest.TempDir(t)
	path := filepath.Join(dir, "log")
	if err := loggable(t, path, pgops.Control{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want it left to PostgreSQL, who can make it", err)
	}
	uid, gid := pgtest.Owner(t)
	if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chown(path, uid, gid)); err != nil {
		t.Fatal(err)
	}
	if err := loggable(t, path, pgops.Control{}); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Errorf("got %q, %v, want it untouched", b, err)
	}
	if err := loggable(t, dir, pgops.Control{}); !errors.Is(err, messages.ErrRefused) {
		t.Errorf("a directory: got %v, want ErrRefused", err)
	}
	if err := loggable(t, "/proc/nothing/log", pgops.Control{Unit: "postgresql@15-main"}); err != nil {
		t.Errorf("a unit's log is not ours: %v", err)
	}
}

func TestALogFileThatOnlyRootCanMake(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can")
	}
	// All on the way to TempDir is not root's.
	dir, err := os.MkdirTemp("/var/lib", "pgresync-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	uid, gid := pgtest.Owner(t)
	links := pgtest.TempDir(t)
	inside := filepath.Join(dir, "inside")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Symlink(dir, filepath.Join(links, "way")), os.Mkdir(inside, 0o700),
		os.Symlink("/var/lib/pgresync-test-target", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"by a way that others made":   filepath.Join(links, "way", "log"),
		"in a directory that is shut": filepath.Join(inside, "log"),
		"in none":                     filepath.Join(dir, "none", "log"),
	} {
		if err := loggable(t, path, pgops.Control{}); !errors.Is(err, messages.ErrPermission) {
			t.Errorf("%s: got %v, want ErrPermission", name, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it was made (%v)", name, err)
		}
	}
	if err := loggable(t, filepath.Join(dir, "link"), pgops.Control{}); err == nil {
		t.Error("a link to nowhere was followed")
	}
	path := filepath.Join(dir, "log")
	for range 2 {
		if err := loggable(t, path, pgops.Control{}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != uid || int(st.Gid) != gid || info.Mode() != 0o600 || info.Size() != 0 {
		t.Errorf("got %v of user %d, want an empty file of PostgreSQL's with mode 0600", info.Mode(), st.Uid)
	}
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := loggable(t, path, pgops.Control{}); !errors.Is(err, messages.ErrPermission) {
		t.Errorf("root's: got %v, want ErrPermission", err)
	}
}
