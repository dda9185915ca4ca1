package pgtest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/command"
)

// serverUser is who PostgreSQL runs as when the tests run as root.
const serverUser = "postgres"

// BinDir is PG_BINDIR, or else the newest of the usual places; without one the
// test is skipped or, under PGRESYNC_TEST_MUST_RUN=1, fails.
func BinDir(tb testing.TB) string {
	tb.Helper()
	if dir := os.Getenv("PG_BINDIR"); dir != "" {
		return dir
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"} {
		dirs, _ := filepath.Glob(pattern) // the patterns are valid
		slices.SortFunc(dirs, func(a, b string) int { return number(b) - number(a) })
		found = append(found, dirs...)
	}
	for _, dir := range found {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir
		}
	}
	skip(tb, "no PostgreSQL server programs (initdb) found: install them, or set PG_BINDIR")
	return ""
}

// number is the digits of a path like /usr/lib/postgresql/15/bin.
func number(path string) int {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, path)
	n, _ := strconv.Atoi(digits) // 0 without digits
	return n
}

func skip(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("PGRESYNC_TEST_MUST_RUN") == "1" {
		tb.Fatalf("PGRESYNC_TEST_MUST_RUN is set, but: %s", why)
	}
	tb.Skip(why)
}

// User is the operating system user that clusters run as: "" for the current one.
func User(tb testing.TB) string {
	tb.Helper()
	if os.Geteuid() != 0 {
		return ""
	}
	return serverUser
}

// Credential is of User; nil for the current user.
func Credential(tb testing.TB) *command.Credential {
	tb.Helper()
	if User(tb) == "" {
		return nil
	}
	c, err := command.LookupCredential(serverUser)
	if err != nil {
		skip(tb, "running as root needs the user "+serverUser+": "+err.Error())
	}
	return c
}

// Owner is the ids of User.
func Owner(tb testing.TB) (uid, gid int) {
	tb.Helper()
	if c := Credential(tb); c != nil {
		return int(c.UID), int(c.GID)
	}
	return os.Geteuid(), os.Getegid()
}

// TempDir makes a directory that belongs to User and goes with the test.
// testing's own lies below directories that User may not enter when the tests run
// as root, and is too long for a socket.
func TempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pgtest-") //nolint:usetesting // see the doc comment
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	uid, gid := Owner(tb)
	if err := os.Chown(dir, uid, gid); err != nil {
		tb.Fatal(err)
	}
	// The server answers with resolved paths, and so should the tests.
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// Run runs a program as User and returns its output; the test fails with it.
func Run(ctx context.Context, tb testing.TB, path string, args ...string) string {
	tb.Helper()
	out, err := command.Command{Path: path, Args: args, Dir: "/", Credential: Credential(tb)}.Output(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

// CopyDir copies a directory with owners, modes and links, as User.
func CopyDir(ctx context.Context, tb testing.TB, from, to string) {
	tb.Helper()
	Run(ctx, tb, "cp", "-a", from, to)
}
