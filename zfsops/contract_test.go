package zfsops_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/zfstest"
)

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"zfs": zfstest.Zfs, "zpool": zfstest.Zpool})
}

func TestFakeZFSKeepsTheContract(t *testing.T) {
	zfstest.Suite(t, func(t *testing.T) *zfstest.Env {
		t.Helper()
		return zfstest.Fake(t)
	})
}

func TestRealZFSKeepsTheContract(t *testing.T) {
	pool := zfstest.RealPool(t)
	zfstest.Suite(t, func(t *testing.T) *zfstest.Env {
		t.Helper()
		return pool.Another(t)
	})
}
