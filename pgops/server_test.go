package pgops_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

func server(t *testing.T, c *pgtest.Cluster) *pgops.Server {
	t.Helper()
	s, err := pgops.NewServer(pgops.ServerOptions{
		BinDir: c.BinDir, DataDir: c.DataDir, User: pgtest.User(t), LogFile: c.LogFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func running(t *testing.T, s *pgops.Server, want bool) {
	t.Helper()
	got, err := s.Running(t.Context())
	if err != nil || got != want {
		t.Errorf("running: got %v, %v; want %v", got, err, want)
	}
}

func TestServerStopsAndStarts(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	s := server(t, c)
	running(t, s, true)
	if err := s.Start(t.Context()); !errors.Is(err, messages.ErrBusy) {
		t.Errorf("start while it runs: got %v, want ErrBusy", err)
	}
	for _, mode := range []pgops.StopMode{pgops.StopFast, pgops.StopImmediate, pgops.StopEscalate} {
		for range 2 { // the second finds nothing to do
			if err := s.Stop(t.Context(), mode); err != nil {
				t.Fatalf("stop %s: %v", mode, err)
			}
			running(t, s, false)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		running(t, s, true)
	}
	data, err := s.ControlData(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if data.SystemID != identity(t, c).SystemID || data.State != "in production" || data.Timeline != 1 || data.WALSegmentSize != mib ||
		data.RedoLSN == 0 || data.CheckpointLSN < data.RedoLSN || time.Since(data.CheckpointTime).Abs() > time.Hour {
		t.Errorf("control data: got %+v", data)
	}
}

// A logging collector outlives the postmaster; what still works in the directory
// would make an unmount fail.
func TestStandbySignalTellsHowItWouldStart(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	s := server(t, c)
	for _, want := range []bool{false, true} {
		if want {
			c.Write(t, "standby.signal", "")
		}
		if got, err := s.IsStandby(t.Context()); err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

func TestStopLeavesNobodyInTheDirectory(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"logging_collector": "on"}})
	if err := server(t, c).Stop(t.Context(), pgops.StopFast); err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if dir, err := os.Readlink(link); err == nil && dir == c.DataDir {
			t.Errorf("%s still leads to the data directory", link)
		}
	}
}

// aliveAs is a process of PostgreSQL's user that is no PostgreSQL.
func aliveAs(t *testing.T) int {
	t.Helper()
	var attr *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		uid, gid := pgtest.Owner(t)
		attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return alive(t, "/", attr)
}

// alive is a process that works in dir until the test ends.
func alive(t *testing.T, dir string, attr *syscall.SysProcAttr) int {
	t.Helper()
	child := exec.CommandContext(t.Context(), "cat")
	child.Dir, child.SysProcAttr = dir, attr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = child.Wait()
	})
	return child.Process.Pid
}

// PG-4b: the number in a copied postmaster.pid may belong to anyone by now.
func TestStalePidFile(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	s := server(t, c)
	if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
		t.Fatal(err)
	}
	pidFile := func(pid int) string {
		return fmt.Sprintf("%d\n%s\n1\n%d\n%s\n127.0.0.1\n 1 1\nready   \n", pid, c.DataDir, c.Port, c.SocketDir)
	}
	t.Run("of another live process of its user", func(t *testing.T) {
		pid := aliveAs(t)
		c.Write(t, "postmaster.pid", pidFile(pid))
		running(t, s, false)
		if err := s.Stop(t.Context(), pgops.StopFast); err != nil { // and it does not kill it
			t.Error(err)
		}
		err := s.Start(t.Context())
		e, ok := errors.AsType[*pgops.StartError](err)
		if !ok || e.Running || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
			t.Fatalf("start: got %v, want a StartError that names the process", err)
		}
		if damaged, known := e.DataDamaged(); damaged || !known || errors.Is(err, messages.ErrBusy) {
			t.Errorf("damaged %v, known %v, %v; want it to count, and not against the data", damaged, known, err)
		}
	})
	// PostgreSQL does not heed it, so nothing may wait for its end.
	t.Run("of a live process of another user, or of ours", func(t *testing.T) {
		c.Write(t, "postmaster.pid", pidFile(os.Getpid()))
		running(t, s, false)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		running(t, s, true)
		if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
			t.Error(err)
		}
	})
	t.Run("of a server on another directory", func(t *testing.T) {
		other := pgtest.New(t, pgtest.Options{})
		b, err := os.ReadFile(filepath.Join(other.DataDir, "postmaster.pid"))
		if err != nil {
			t.Fatal(err)
		}
		c.Write(t, "postmaster.pid", string(b))
		running(t, s, false)
		if err := s.Stop(t.Context(), pgops.StopImmediate); err != nil {
			t.Error(err)
		}
		running(t, server(t, other), true)
	})
	t.Run("damaged", func(t *testing.T) {
		c.Write(t, "postmaster.pid", "\n")
		if _, err := s.Running(t.Context()); err == nil {
			t.Error("got no error, want doubt")
		}
	})
	t.Run("of a process that is gone", func(t *testing.T) {
		c.Write(t, "postmaster.pid", pidFile(1<<22+1)) // above Linux's greatest pid
		running(t, s, false)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		running(t, s, true)
	})
}

func TestServerWithoutDataDirectory(t *testing.T) {
	dir := pgtest.TempDir(t)
	s, err := pgops.NewServer(pgops.ServerOptions{
		BinDir: pgtest.BinDir(t), DataDir: filepath.Join(dir, "none"), User: pgtest.User(t), LogFile: filepath.Join(dir, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, s, false)
	if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := s.Start(t.Context()); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("start: got %v, want ErrNotFound", err)
	}
	if _, err := s.ControlData(t.Context()); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("control data: got %v, want ErrNotFound", err)
	}
	if _, err := pgops.VersionOf(dir); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("version: got %v, want ErrNotFound", err)
	}
}

func TestFailedStartsAreClassed(t *testing.T) {
	cut := func(t *testing.T, c *pgtest.Cluster, name string) {
		t.Helper()
		if err := os.Truncate(filepath.Join(c.DataDir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		spoil          func(t *testing.T, c *pgtest.Cluster)
		damaged, known bool
	}{
		"no WAL": {func(t *testing.T, c *pgtest.Cluster) {
			t.Helper()
			files, err := filepath.Glob(filepath.Join(c.DataDir, "pg_wal", "0*"))
			for _, f := range files {
				err = errors.Join(err, os.Remove(f))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, true, true},
		"an empty pg_control": {func(t *testing.T, c *pgtest.Cluster) { t.Helper(); cut(t, c, "global/pg_control") }, true, true},
		"no pg_xact": {func(t *testing.T, c *pgtest.Cluster) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(c.DataDir, "pg_xact")); err != nil {
				t.Fatal(err)
			}
		}, true, true},
		"a syntax error": {func(t *testing.T, c *pgtest.Cluster) {
			t.Helper()
			c.Append(t, "postgresql.conf", "max_connections = = 3\n")
		}, false, true},
		"a library that is not there": {func(t *testing.T, c *pgtest.Cluster) {
			t.Helper()
			c.Append(t, "postgresql.conf", "shared_preload_libraries = 'nowhere'\n")
		}, false, true},
		"no permission": {func(t *testing.T, c *pgtest.Cluster) {
			t.Helper()
			if err := os.Chmod(c.DataDir, 0o755); err != nil {
				t.Fatal(err)
			}
		}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := pgtest.New(t, pgtest.Options{})
			s := server(t, c)
			if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, c)
			err := s.Start(t.Context())
			e, ok := errors.AsType[*pgops.StartError](err)
			if !ok {
				t.Fatalf("got %v, want a StartError", err)
			}
			if damaged, known := e.DataDamaged(); damaged != test.damaged || known != test.known {
				t.Errorf("damaged %v, known %v; want %v, %v\n%s", damaged, known, test.damaged, test.known, e.LogTail)
			}
		})
	}
}

// PG-7: a standby whose max_connections is lower than its primary's.
func TestStartSaysThatSettingsAreTooLow(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"in the file of pg_ctl":   {},
		"in the collector's file": {"logging_collector": "on"},
	} {
		t.Run(name, func(t *testing.T) {
			p := pgtest.New(t, pgtest.Options{Settings: settings})
			c := p.Standby(t, pgtest.Options{Settings: settings})
			s := server(t, c)
			if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
				t.Fatal(err)
			}
			c.Append(t, "postgresql.conf", "max_connections = 10\n")
			err := s.Start(t.Context())
			e, ok := errors.AsType[*pgops.StartError](err)
			if !ok {
				t.Fatalf("got %v, want a StartError", err)
			}
			if e.Running || e.StartReason() != messages.ReasonSettingsTooLow || !errors.Is(err, messages.ErrRefused) ||
				!strings.Contains(err.Error(), "max_connections = 10") {
				t.Errorf("got %+v, want settings-too-low with the parameter", e)
			}
			if e.LogTail == "" || len(e.LogTail) > 9<<10 {
				t.Errorf("log tail: got %d bytes, want some, but not the whole log", len(e.LogTail))
			}
			running(t, s, false)
		})
	}
}

// PG-8: a standby that waits for WAL runs, though it lets nobody in.
func TestStartThatTakesTooLongLeavesItRunning(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	c := p.Standby(t, pgtest.Options{})
	c.Stop(t, "fast")
	// The first switches to a segment that the standby never saw: that of the second.
	for range 2 {
		b, err := database(t, p, pgtest.Superuser).Backup(t.Context(), "x", nop)
		if err != nil {
			t.Fatal(err)
		}
		c.Write(t, "backup_label", string(b.Label))
	}
	p.Stop(t, "immediate")
	s, err := pgops.NewServer(pgops.ServerOptions{
		BinDir: c.BinDir, DataDir: c.DataDir, User: pgtest.User(t), LogFile: c.LogFile, StartTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start(t.Context())
	e, ok := errors.AsType[*pgops.StartError](err)
	if !ok || !e.Running || !errors.Is(err, messages.ErrUnavailable) {
		t.Errorf("got %v, want a StartError that says it runs", err)
	}
	running(t, s, true)
	if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
		t.Error(err)
	}
}

func TestStartCanBeCancelled(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	s := server(t, c)
	if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
		t.Error(err)
	}
}

// As Debian has it.
func TestServerStartsWithAConfigurationFromElsewhere(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	if err := server(t, c).Stop(t.Context(), pgops.StopFast); err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(pgtest.TempDir(t), "it's etc")
	pgtest.MkdirAll(t, etc)
	conf := filepath.Join(etc, "postgresql.conf")
	moveConfig(t, c.DataDir, conf, "data_directory = '/somewhere/else'\nhba_file = '"+filepath.Join(c.DataDir, "pg_hba.conf")+"'\ncluster_name = 'from elsewhere'\n")
	if err := server(t, c).Start(t.Context()); err == nil {
		t.Error("it started without its configuration")
	}
	s, err := pgops.NewServer(pgops.ServerOptions{
		BinDir: c.BinDir, DataDir: c.DataDir, User: pgtest.User(t), LogFile: c.LogFile, ConfigFile: conf,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	running(t, s, true)
	if got := c.Text(t, "SELECT current_setting('cluster_name')||' '||current_setting('data_directory')"); got != "from elsewhere "+c.DataDir {
		t.Errorf("it runs with %s", got)
	}
	got, err := database(t, c, pgtest.Superuser).Readiness(t.Context())
	if err != nil || got.ConfigFile != conf || got.DataDir != c.DataDir {
		t.Errorf("it says %s, %s, %v", got.ConfigFile, got.DataDir, err)
	}
	if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
		t.Error(err)
	}
	running(t, s, false)
}

func TestServerOptionsAreChecked(t *testing.T) {
	good := pgops.ServerOptions{BinDir: "/b", DataDir: "/d", LogFile: "/l"}
	if _, err := pgops.NewServer(good); err != nil {
		t.Errorf("good options: %v", err)
	}
	for name, change := range map[string]func(o *pgops.ServerOptions){
		"relative data directory": func(o *pgops.ServerOptions) { o.DataDir = "d" },
		"no log file":             func(o *pgops.ServerOptions) { o.LogFile = "" },
		"shell in a path":         func(o *pgops.ServerOptions) { o.LogFile = "/l$(id)" },
		"quote in a path":         func(o *pgops.ServerOptions) { o.DataDir = `/d"` },
		"relative configuration":  func(o *pgops.ServerOptions) { o.ConfigFile = "postgresql.conf" },
		"unknown user":            func(o *pgops.ServerOptions) { o.User = "no-such-user-here" },
	} {
		o := good
		change(&o)
		if _, err := pgops.NewServer(o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
