package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// separate has the tests run with secondary sidecars in two parts (`make … SEPARATE=yes`).
func separate() bool { return os.Getenv("PGRESYNC_TEST_SEPARATE") == "yes" }

// requireLab skips where the tests cannot run, or fails when they must.
func requireLab(t testing.TB) (bin, out string) {
	t.Helper()
	missing := func(what string) {
		if os.Getenv("PGRESYNC_TEST_MUST_RUN") == "1" {
			t.Fatalf("end-to-end tests must run, but %s; run them with lab/run", what)
		}
		t.Skipf("%s; run the end-to-end tests with lab/run", what)
	}
	bin, out = os.Getenv("LAB_IN"), os.Getenv("LAB_OUT")
	switch {
	case os.Geteuid() != 0:
		missing("this is not root")
	case bin == "" || out == "":
		missing("LAB_IN and LAB_OUT are not set")
	}
	if _, err := os.Stat("/dev/zfs"); err != nil {
		missing("there is no /dev/zfs")
	}
	for _, name := range []string{world.Primary, world.Secondary, "nats", "pgresync"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			missing("there is no " + name + " in " + bin)
		}
	}
	for _, name := range []string{"zpool", "ip", "nsenter", "setpriv"} {
		if _, err := exec.LookPath(name); err != nil {
			missing("there is no " + name)
		}
	}
	return bin, out
}
