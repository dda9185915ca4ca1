package pgops_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/pgops"
)

// A temporary file system in memory is a device of its own, as a ZFS one is. That
// others use it, too, does not matter: cat comes early in the alphabet.
func TestWhoUsesAMountIsNamed(t *testing.T) {
	const shm = "/dev/shm"
	here, err := os.Stat(shm)
	root, err2 := os.Stat("/")
	if err != nil || err2 != nil || os.SameFile(here, root) {
		t.Skip("there is no " + shm)
	}
	dir, err := os.MkdirTemp(shm, "pgresync-test-") //nolint:usetesting // it has to be on another device
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pid := alive(t, dir, nil)
	users := strings.Join(pgops.UsersOf([]string{shm}), "; ")
	if want := fmt.Sprintf("cat (process %d, working directory in %s)", pid, shm); !strings.Contains(users, want) {
		t.Errorf("got %q, want %q", users, want)
	}
	if users := pgops.UsersOf([]string{dir}); len(users) != 0 {
		t.Errorf("got %q of a directory on which nothing is mounted", users)
	}
	if users := pgops.UsersOf([]string{"/nowhere at all"}); len(users) != 0 {
		t.Errorf("got %q of a place that is not there", users)
	}
}

// A process that has been at a mount point since before the mount keeps nobody from
// unmounting it.
func TestWhoIsBelowAMountIsNotNamed(t *testing.T) {
	const mounting = "PGRESYNC_TEST_MOUNT_AT"
	if dir := os.Getenv(mounting); dir != "" {
		below := alive(t, dir, nil)
		if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "tmpfs", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		on := alive(t, dir, nil)
		want := fmt.Sprintf("cat (process %d, working directory in %s)", on, dir)
		if users := pgops.UsersOf([]string{dir}); len(users) != 1 || users[0] != want {
			t.Errorf("got %q, want %q and not process %d", users, want, below)
		}
		return
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	program, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	again := exec.CommandContext(t.Context(), program, "--mount", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), mounting+"="+t.TempDir())
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
