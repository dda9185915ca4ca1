package zfstest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

// MustRunEnv turns the skip of a test that lacks its prerequisite into a failure.
const MustRunEnv = "PGRESYNC_TEST_MUST_RUN"

// Env is a place to test in: a file system of one's own on a fake or real pool.
type Env struct {
	ZFS *zfsops.ZFS
	// Options are those of ZFS.
	Options zfsops.Options
	Pool    string
	// Root exists, is empty, unmounted and without a mark; its name has a space.
	Root messages.Dataset
	// Real is false for the fake.
	Real bool

	// state is the fake's.
	state string
}

// Fake makes an empty fake pool. The zfs and zpool of the test binary's own
// TestMain must be in PATH.
func Fake(tb testing.TB) *Env {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "state.json")
	e := &Env{Pool: "fake pool", state: path}
	e.Options.Env = []string{stateEnv + "=" + path, "GORACE=atexit_sleep_ms=0"}
	for name, program := range map[string]*string{"zfs": &e.Options.ZFS, "zpool": &e.Options.Zpool} {
		found, err := exec.LookPath(name)
		if err != nil {
			tb.Fatalf("no fake %s: the package's TestMain must call testscript.Main with zfstest.Zfs and zfstest.Zpool: %v", name, err)
		}
		*program = found
	}
	e.ZFS = zfsops.New(e.Options)
	e.edit(tb, func(s *state) {
		s.Datasets[e.Pool] = s.newDataset(map[string]string{"mountpoint": "none"})
	})
	e.newRoot(tb)
	return e
}

// newRoot makes the file system that the test owns.
func (e *Env) newRoot(tb testing.TB) {
	tb.Helper()
	root, err := messages.ParseDataset(fmt.Sprintf("%s/test %08x", e.Pool, mrand.Uint32()))
	if err != nil {
		tb.Fatal(err)
	}
	e.Root = root
	e.Tool(tb, "create", "-u", "-o", "mountpoint=none", string(root))
}

// Unprivileged is ZFS for a user who was given the permissions on the root, in
// the words of zfs-allow(8), that a delegated receiver needs except readonly.
func (e *Env) Unprivileged(tb testing.TB) *zfsops.ZFS {
	tb.Helper()
	opts := e.Options
	if !e.Real {
		opts.Env = append(slices.Clip(opts.Env), denyEnv+"=readonly")
		return zfsops.New(opts)
	}
	const nobody = 65534
	e.Tool(tb, "allow", strconv.Itoa(nobody), "create,mount,receive,snapshot,hold,release,send,bookmark,destroy,userprop,canmount,mountpoint", string(e.Root))
	// Where no udev does it for us.
	if err := os.Chmod("/dev/zfs", 0o666); err != nil {
		tb.Fatal(err)
	}
	opts.Credential = &command.Credential{UID: nobody, GID: nobody}
	return zfsops.New(opts)
}

// Tool runs zfs itself, for what other people do to the pool, and returns its
// output.
func (e *Env) Tool(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := command.Command{Path: e.Options.ZFS, Args: args, Env: e.Options.Env}.Output(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

// Write adds size bytes that do not compress to what is in d, which must be
// mounted on a real pool.
func (e *Env) Write(tb testing.TB, d messages.Dataset, size int) {
	tb.Helper()
	if !e.Real {
		e.edit(tb, func(s *state) {
			s.Datasets[string(d)].Data = append(s.Datasets[string(d)].Data, write{newGUID(), uint64(size)})
		})
		return
	}
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails since Go 1.24
	name := filepath.Join(e.mountpoint(tb, d), fmt.Sprintf("file %016x", mrand.Uint64()))
	if err := os.WriteFile(name, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// Content is a digest of what is in d, which must be mounted on a real pool.
func (e *Env) Content(tb testing.TB, d messages.Dataset) string {
	tb.Helper()
	sum := sha256.New()
	if !e.Real {
		e.edit(tb, func(s *state) { fmt.Fprint(sum, s.Datasets[string(d)].Data) })
		return hex.EncodeToString(sum.Sum(nil))
	}
	dir := e.mountpoint(tb, d)
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %d\n", entry.Name(), len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Occupy keeps the mounted d busy until the returned function is called.
func (e *Env) Occupy(tb testing.TB, d messages.Dataset) (leave func()) {
	tb.Helper()
	if !e.Real {
		busy := func(b bool) func(*state) {
			return func(s *state) { s.Datasets[string(d)].Busy = b }
		}
		e.edit(tb, busy(true))
		return func() { e.edit(tb, busy(false)) }
	}
	f, err := os.Open(e.mountpoint(tb, d))
	if err != nil {
		tb.Fatal(err)
	}
	return func() { f.Close() }
}

func (e *Env) mountpoint(tb testing.TB, d messages.Dataset) string {
	tb.Helper()
	return strings.TrimSpace(e.Tool(tb, "get", "-Hp", "-o", "value", "mountpoint", string(d)))
}

// edit changes the fake's pools behind the command's back.
func (e *Env) edit(tb testing.TB, f func(*state)) {
	tb.Helper()
	if err := withState(e.state, func(s *state) error { f(s); return nil }); err != nil {
		tb.Fatal(err)
	}
}

// RealPool makes a pool on a file, for the time of the test. Without usable ZFS
// it skips, or fails if PGRESYNC_TEST_MUST_RUN=1.
func RealPool(tb testing.TB) *Env {
	tb.Helper()
	e := &Env{Real: true, Pool: fmt.Sprintf("pgresync test %08x", mrand.Uint32())}
	var missing error
	if e.Options.ZFS, missing = realProgram("zfs"); missing == nil {
		e.Options.Zpool, missing = realProgram("zpool")
	}
	if _, err := os.Stat("/dev/zfs"); err != nil && missing == nil {
		missing = fmt.Errorf("load the zfs module: %w", err)
	}
	if os.Geteuid() != 0 && missing == nil {
		missing = fmt.Errorf("making a pool takes root")
	}
	if missing != nil {
		lacking(tb, missing)
	}
	file := filepath.Join(tb.TempDir(), "disk")
	disk, err := os.Create(filepath.Clean(file))
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(disk.Truncate(1<<30), disk.Close()); err != nil {
		tb.Fatal(err)
	}
	e.zpool(tb, "create", "-f", "-o", "cachefile=none", "-O", "mountpoint=none", "-O", "canmount=off", e.Pool, file)
	tb.Cleanup(func() { e.zpool(tb, "destroy", "-f", e.Pool) })
	e.ZFS = zfsops.New(e.Options)
	e.newRoot(tb)
	return e
}

// Another is a new root on the same pool.
func (e *Env) Another(tb testing.TB) *Env {
	tb.Helper()
	other := *e
	other.newRoot(tb)
	return &other
}

// fresh is an env of the same kind.
func (e *Env) fresh(tb testing.TB) *Env {
	tb.Helper()
	if e.Real {
		return e.Another(tb)
	}
	return Fake(tb)
}

func (e *Env) zpool(tb testing.TB, args ...string) {
	tb.Helper()
	// A clean-up runs when the test's own context has ended.
	if _, err := (command.Command{Path: e.Options.Zpool, Args: args}).Output(context.WithoutCancel(tb.Context())); err != nil {
		tb.Error(err)
	}
}

// realProgram looks in the system's directories only: in PATH there may be the
// fake.
func realProgram(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("install OpenZFS: no %s in the system's directories", name)
}

func lacking(tb testing.TB, err error) {
	tb.Helper()
	if os.Getenv(MustRunEnv) == "1" {
		tb.Fatalf("real ZFS is not usable, and %s=1 says it must be: %v", MustRunEnv, err)
	}
	tb.Skipf("real ZFS is not usable: %v", err)
}
