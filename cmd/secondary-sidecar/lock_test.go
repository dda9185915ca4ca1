package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

func TestWhoComesSecondHearsWhoIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "tank%pg.lock")
	first, second := &lock{path: path, who: "a sidecar, process 7"}, &lock{path: path, who: "a seed, process 8"}
	if err := errors.Join(first.take(), first.take()); err != nil {
		t.Fatal(err)
	}
	err := second.take()
	if !errors.Is(err, messages.ErrBusy) || daemon.ExitCode(err) != daemon.ExitConflict || !strings.Contains(err.Error(), "a sidecar, process 7 acts") {
		t.Errorf("exit code %d: %v", daemon.ExitCode(err), err)
	}
	// PostgreSQL may be a child, and outlives the one who started it.
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	first.release()
	if err := second.take(); err != nil {
		t.Errorf("the first has ended: %v", err)
	}
	if err := errors.Join(child.Process.Kill(), ignore(child.Wait())); err != nil {
		t.Fatal(err)
	}
}

func ignore(error) error { return nil }

func TestASidecarWaitsForASeedToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := zerolog.New(&out)
		path := filepath.Join(t.TempDir(), "lock")
		seed, sidecar := &lock{path: path, who: "a seed"}, &lock{path: path, who: "a sidecar"}
		if err := seed.take(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sidecar.await(ctx, root{}, log) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to end when it is told to", err)
		}
		go func() { ended <- sidecar.await(t.Context(), root{}, log) }()
		synctest.Wait()
		seed.release()
		if err := <-ended; err != nil || sidecar.file == nil {
			t.Errorf("it goes on with %v, held %t", err, sidecar.file != nil)
		}
		if n := strings.Count(out.String(), "waits for its turn"); n != 2 {
			t.Errorf("two waits are logged %d times:\n%s", n, out.String())
		}
		sidecar.release()
	})
}

func TestSeedDoesNotActBesideAnotherWithoutASidecar(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's seed acts without a sidecar")
	}
	s := natstest.Run(t)
	zfs := zfstest.Fake(t)
	zfs.InPath(t)
	cfg := Config{}
	cfg.Cluster, cfg.Dataset = "lock-of-a-test", messages.Dataset(string(zfs.Root)+"/pg")
	other := newLock(cfg, "a seed")
	if err := other.take(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.release(); _ = os.RemoveAll(filepath.Dir(other.path)) })
	for key, value := range map[string]string{
		"CLUSTER": string(cfg.Cluster), "UNSIGNED": "documents,triggers", "NODE": "db2", "DATASET": string(cfg.Dataset), "NATS_URL": s.URL(),
		"PG_CONNINFO": "host=" + t.TempDir() + " user=postgres", "PG_BIN_DIR": pgtest.BinDir(t),
	} {
		t.Setenv("PGRESYNC_"+key, value)
	}
	var out, complaints bytes.Buffer
	err := run(t.Context(), []string{"seed"}, &out, &complaints)
	if daemon.ExitCode(err) != daemon.ExitConflict || !strings.Contains(complaints.String(), "a seed, process ") {
		t.Errorf("exit code %d: %s", daemon.ExitCode(err), complaints.String())
	}
}

// An unprivileged part takes the lock that root's part has made for it.
func TestTheLockIsLentToAnUnprivilegedPart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	cfg := Config{PGUser: "nobody"}
	cfg.Cluster, cfg.Dataset = "lent-by-a-test", "tank/pg"
	path := lockPath(cfg)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(path)) })
	if err := lendLock(cfg); err != nil {
		t.Fatal(err)
	}
	uid, gid, err := pgops.LookupUser(cfg.PGUser)
	if err != nil {
		t.Fatal(err)
	}
	// flock(1) ends with 1 where another has it, and with 66 where it cannot open it.
	try := func() int {
		c := exec.CommandContext(t.Context(), "flock", "--nonblock", path, "true")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		_ = c.Run()
		return c.ProcessState.ExitCode()
	}
	if code := try(); code != 0 {
		t.Errorf("the unprivileged part cannot take it: exit code %d", code)
	}
	seed := newLock(cfg, "root's seed")
	if err := seed.take(); err != nil {
		t.Fatal(err)
	}
	defer seed.release()
	if code := try(); code != 1 {
		t.Errorf("exit code %d of the unprivileged part, want it to be kept out", code)
	}
}
