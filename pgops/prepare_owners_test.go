package pgops_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// What PostgreSQL could not write to is found before the old copy is stopped, and
// nobody walks the whole directory for it.
func TestOwnersAndModesAreChecked(t *testing.T) {
	r := newRig(t)
	versions, err := filepath.Glob(filepath.Join(filepath.Dir(r.setup.DataDir), "ts", "PG_*"))
	if err != nil || len(versions) != 1 {
		t.Fatalf("the tablespace has %v, %v", versions, err)
	}
	space := filepath.Dir(versions[0])
	at := func(name string) string { return filepath.Join(r.setup.DataDir, name) }
	uid, gid := pgtest.Owner(t)
	for name, test := range map[string]struct {
		path  string
		mode  fs.FileMode // 0: another owner instead
		names string
	}{
		"others may read it":                 {at("."), 0o755, "0755"},
		"its owner may not write":            {at("."), 0o550, "0550"},
		"a directory is another's":           {at("pg_xact"), 0, "pg_xact"},
		"its owner may not write to base":    {at("base"), 0o500, "base"},
		"PG_VERSION is another's":            {at("PG_VERSION"), 0, "PG_VERSION"},
		"a tablespace is another's":          {space, 0, "tablespace"},
		"a tablespace's inside is another's": {versions[0], 0, filepath.Base(versions[0])},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := os.Stat(test.path)
			if err != nil {
				t.Fatal(err)
			}
			restore := func() error {
				return errors.Join(os.Chown(test.path, uid, gid), os.Chmod(test.path, info.Mode().Perm()))
			}
			if test.mode != 0 {
				err = os.Chmod(test.path, test.mode)
			} else if err = os.Chown(test.path, uid+1, gid); errors.Is(err, fs.ErrPermission) {
				t.Skip("to give a file away takes root")
			}
			if err != nil {
				t.Fatal(err)
			}
			err = r.prepare(t)
			if !errors.Is(err, messages.ErrRefused) || !strings.Contains(err.Error(), test.names) {
				t.Errorf("got %v, want ErrRefused that names %s", err, test.names)
			}
			if err := restore(); err != nil {
				t.Fatal(err)
			}
		})
	}
	// An operator's own files may belong to anybody.
	if err := os.WriteFile(at("server.key"), []byte("key"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(t); err != nil {
		t.Errorf("with all in order: %v", err)
	}
	t.Run("local files outlive their data directory", func(t *testing.T) {
		r.keepsLocalFiles(t)
	})
}

// keepsLocalFiles is what the modes for tight hosts do with a copy that they give up.
func (r *rig) keepsLocalFiles(t *testing.T) {
	t.Helper()
	from, to := pgtest.TempDir(t), pgtest.TempDir(t)
	for name, mode := range map[string]fs.FileMode{"pg_hba.conf": 0o640, "server.key": 0o600, "not-listed": 0o600} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	// Certificates often are links out of the data directory.
	const certificate = "/etc/ssl/certs/of-this-host.pem"
	if err := os.Symlink(certificate, filepath.Join(from, "server.crt")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "server.crt"), []byte("the primary's"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := pgops.Preparer{BinDir: r.primary.BinDir}
	for range 2 { // it may be done again after a crash
		if err := p.Keep(t.Context(), from, to, []string{"pg_hba.conf", "server.key", "server.crt", "none.conf"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]fs.FileMode{"pg_hba.conf": 0o640, "server.key": 0o600} {
		info, err := os.Stat(filepath.Join(to, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: got %v, %v; want mode %04o", name, info, err, mode)
		}
	}
	if list, err := os.ReadDir(to); err != nil || len(list) != 3 {
		t.Errorf("kept: got %v, %v; want the listed files and nothing else", list, err)
	}
	if got, err := os.Readlink(filepath.Join(to, "server.crt")); err != nil || got != certificate {
		t.Errorf("server.crt leads to %q, %v; want %s", got, err, certificate)
	}
	if err := p.Keep(t.Context(), from, to, []string{"global/pg_control"}); !errors.Is(err, messages.ErrRefused) {
		t.Errorf("pg_control: got %v, want ErrRefused", err)
	}
}
