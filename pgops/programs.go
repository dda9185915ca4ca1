package pgops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// programs runs PostgreSQL's own programs.
type programs struct {
	dir        string // absolute
	credential *command.Credential
}

// output runs one of them from "/": pg_ctl gives up in a working directory that
// its user may not enter.
func (p programs) output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := command.Command{
		Path: filepath.Join(p.dir, name), Args: args, Dir: "/",
		// pg_controldata prints times in the local zone.
		Env: []string{"TZ=UTC"}, Credential: p.credential,
	}.Output(ctx)
	return string(out), err
}

// BinaryMajor is the major version of the programs in binDir.
func BinaryMajor(ctx context.Context, binDir string) (int, error) {
	return programs{dir: binDir}.major(ctx)
}

func (p programs) major(ctx context.Context) (int, error) {
	out, err := p.output(ctx, "pg_controldata", "--version")
	if err != nil {
		return 0, fmt.Errorf("version of PostgreSQL in %s: %w", p.dir, err)
	}
	// "pg_controldata (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
	_, version, _ := strings.Cut(out, "(PostgreSQL) ")
	v, err := leadingNumber(version)
	if err != nil {
		return 0, fmt.Errorf("version of PostgreSQL in %s: %w", p.dir, err)
	}
	return v, nil
}

// VersionOf is the major version that made a data directory (its PG_VERSION). A
// directory without one wraps messages.ErrNotFound.
func VersionOf(dataDir string) (int, error) {
	b, err := readWarily(filepath.Join(dataDir, "PG_VERSION"), 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("data directory %s: %w: it has no PG_VERSION", dataDir, messages.ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("data directory %s: %w", dataDir, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("data directory %s: its PG_VERSION is not a number", dataDir)
	}
	return v, nil
}

// LookupUser finds the ids of an operating system user; "" is the current one.
func LookupUser(name string) (uid, gid int, err error) {
	if name == "" {
		return os.Geteuid(), os.Getegid(), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("look up the operating system user %s: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, fmt.Errorf("look up the operating system user %s: %w", name, err)
	}
	return uid, gid, nil
}
