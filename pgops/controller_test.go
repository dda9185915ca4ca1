package pgops_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/progtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

func controlled(t *testing.T, c *pgtest.Cluster, control pgops.Control) *pgops.Server {
	t.Helper()
	s, err := pgops.NewServer(pgops.ServerOptions{
		BinDir: c.BinDir, DataDir: c.DataDir, User: pgtest.User(t), LogFile: c.LogFile, Control: control, StartTimeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// byPgCtl are three commands as an operator would give them.
func byPgCtl(t *testing.T, c *pgtest.Cluster) pgops.Control {
	t.Helper()
	ctl := func(verb string, more ...string) []string {
		return append([]string{filepath.Join(c.BinDir, "pg_ctl"), verb, "-s", "-D", c.DataDir}, more...)
	}
	return pgops.Control{
		Start: ctl("start", "-W", "-l", c.LogFile), Stop: ctl("stop", "-m", "fast"), Status: ctl("status"), User: pgtest.User(t),
	}
}

func TestCommands(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	exits := func(code int) []string { return []string{"/bin/sh", "-c", "exit " + strconv.Itoa(code)} }
	says := func(code int) *pgops.Server {
		return controlled(t, c, pgops.Control{Start: exits(0), Stop: exits(0), Status: exits(code)})
	}
	s := controlled(t, c, byPgCtl(t, c))
	t.Run("start and stop", func(t *testing.T) {
		for range 2 { // the second finds nothing to do
			if err := s.Stop(t.Context(), pgops.StopEscalate); err != nil {
				t.Fatal(err)
			}
			running(t, s, false)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		running(t, s, true)
		if got := c.Text(t, "SELECT 1::text"); got != "1" { // Start waits although the command does not
			t.Errorf("it answers %q", got)
		}
	})
	// Whatever the commands claim, the data directory decides.
	t.Run("a stop that did nothing", func(t *testing.T) {
		if err := says(0).Stop(t.Context(), pgops.StopFast); !errors.Is(err, messages.ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(s.PID())) {
			t.Errorf("got %v, want ErrBusy that names process %d", err, s.PID())
		}
	})
	t.Run("it runs, whatever they say", func(t *testing.T) { running(t, says(3), true) })
	c.Stop(t, "fast")
	t.Run("a start that did nothing", func(t *testing.T) {
		if err := says(3).Start(t.Context()); !errors.Is(err, messages.ErrUnavailable) || !strings.Contains(err.Error(), "no server works in") {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
	t.Run("they say that it runs", func(t *testing.T) { running(t, says(0), true) })
	t.Run("they do not know", func(t *testing.T) {
		if got, err := says(1).Running(t.Context()); err == nil {
			t.Errorf("got %v, want doubt", got)
		}
	})
}

// fakeUnit puts a systemctl in PATH whose unit pg.service runs c and restarts it
// whenever it ends.
func fakeUnit(t *testing.T, c *pgtest.Cluster) (dir string) {
	t.Helper()
	dir = pgtest.TempDir(t)
	script, err := os.ReadFile("testdata/systemctl")
	if err != nil {
		t.Fatal(err)
	}
	run := ""
	if user := pgtest.User(t); user != "" {
		run = fmt.Sprintf("setpriv --reuid=%[1]s --regid=%[1]s --init-groups --", user)
	}
	env := fmt.Sprintf("UNIT=pg.service\nRUN='%s'\nPOSTGRES='%s/postgres'\nDATA='%s'\nLOG='%s'\n", run, c.BinDir, c.DataDir, c.LogFile)
	if err := errors.Join(progtest.Write(filepath.Join(dir, "systemctl"), script, 0o755), os.WriteFile(filepath.Join(dir, "unit.env"), []byte(env), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Cleanup(func() {
		stop := command.Command{Path: filepath.Join(dir, "systemctl"), Args: []string{"stop", "pg.service"}}
		if err := stop.Run(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return dir
}

// starts is how often the fake unit has started PostgreSQL.
func starts(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func TestUnit(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	dir := fakeUnit(t, c)
	s := controlled(t, c, pgops.Control{Unit: "pg"})

	t.Run("somebody else's server is not fought", func(t *testing.T) {
		pid := s.PID() // started by pg_ctl, not by the unit
		err := s.Stop(t.Context(), pgops.StopEscalate)
		if !errors.Is(err, messages.ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(pid)) || !strings.Contains(err.Error(), "unit pg.service is down") {
			t.Errorf("got %v, want ErrBusy that names process %d and the unit", err, pid)
		}
		if got := s.PID(); got != pid {
			t.Errorf("process %d works there now, want %d undisturbed", got, pid)
		}
	})
	c.Stop(t, "fast")
	t.Run("one that restarts stays down when stopped", func(t *testing.T) {
		running(t, s, false)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := s.PID()
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// The unit may have to try more than once: until the processes of the killed one
		// are gone they hold its shared memory.
		pgtest.Eventually(t, "the unit to start it again", func() bool {
			b, _ := os.ReadFile(filepath.Join(c.DataDir, "postmaster.pid"))
			p := s.PID()
			return p != 0 && p != first && strings.Contains(string(b), "ready")
		})
		running(t, s, true)
		before := starts(t, dir)
		if err := s.Stop(t.Context(), pgops.StopEscalate); err != nil {
			t.Fatal(err)
		}
		running(t, s, false)
		if got := starts(t, dir); got != before || got < 2 {
			t.Errorf("it was started %d times, want %d and none after the stop: once by us, then by the unit", got, before)
		}
	})
	t.Run("one of another cluster is left alone", func(t *testing.T) {
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		other := pgtest.Adopt(t, pgtest.MkdirAll(t, filepath.Join(pgtest.TempDir(t), "data")))
		other.Write(t, "PG_VERSION", "15\n")
		o := controlled(t, other, pgops.Control{Unit: "pg.service"})
		if err := o.Start(t.Context()); !errors.Is(err, messages.ErrRefused) || !strings.Contains(err.Error(), strconv.Itoa(s.PID())) {
			t.Errorf("start: got %v, want ErrRefused that names process %d", err, s.PID())
		}
		if err := o.Stop(t.Context(), pgops.StopEscalate); !errors.Is(err, messages.ErrRefused) {
			t.Errorf("stop: got %v, want ErrRefused", err)
		}
		running(t, s, true)
		if err := s.Stop(t.Context(), pgops.StopFast); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("one that nobody knows", func(t *testing.T) {
		s := controlled(t, c, pgops.Control{Unit: "nowhere.service"})
		if err := s.Start(t.Context()); !errors.Is(err, messages.ErrNotFound) {
			t.Errorf("start: got %v, want ErrNotFound", err)
		}
		if _, err := s.Running(t.Context()); !errors.Is(err, messages.ErrNotFound) {
			t.Errorf("running: got %v, want ErrNotFound", err)
		}
	})
	// As postgresql.service is, of which every cluster of a Debian host is a part.
	t.Run("one of all clusters", func(t *testing.T) {
		s := controlled(t, c, pgops.Control{Unit: "all"})
		if err := s.Start(t.Context()); !errors.Is(err, messages.ErrRefused) || !strings.Contains(err.Error(), "postgresql@15-main") {
			t.Errorf("start: got %v, want ErrRefused and what to name", err)
		}
		if err := s.Stop(t.Context(), pgops.StopEscalate); !errors.Is(err, messages.ErrRefused) {
			t.Errorf("stop: got %v, want ErrRefused", err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "others")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it was asked to %q (%v)", b, err)
		}
	})
	// Between the end of one server and the start of the next there is no process, and
	// yet it is not down.
	t.Run("one that is about to restart is stopped", func(t *testing.T) {
		c.Append(t, "postgresql.conf", "max_connections = = 3\n")
		s, err := pgops.NewServer(pgops.ServerOptions{
			BinDir: c.BinDir, DataDir: c.DataDir, User: pgtest.User(t), LogFile: c.LogFile, Control: pgops.Control{Unit: "pg"}, StartTimeout: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Start(t.Context())
		if _, ok := errors.AsType[*pgops.StartError](err); !ok {
			t.Fatalf("got %v, want a StartError", err)
		}
		running(t, s, true)
		if err := s.Stop(t.Context(), pgops.StopImmediate); err != nil {
			t.Fatal(err)
		}
		running(t, s, false)
	})
}

// What is no postmaster of ours any more when its stop has failed gets no signal.
func TestOnlyOurServerIsQuit(t *testing.T) {
	bin, data := t.TempDir(), t.TempDir()
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	postgres, at := filepath.Join(bin, "postgres"), func(name string) string { return filepath.Join(bin, name) }
	if err := errors.Join(progtest.Write(postgres, shell, 0o755), syscall.Mkfifo(at("order"), 0o600), syscall.Mkfifo(at("answer"), 0o600)); err != nil {
		t.Fatal(err)
	}
	// It leaves the data directory when it is told to stop, and lives on for good.
	child := exec.CommandContext(t.Context(), postgres, "-c", `read x <"$0/order"; cd /; echo >"$0/answer"; while read x; do :; done; exit 7`, bin)
	child.Dir = data
	in, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "postmaster.pid"), fmt.Appendln(nil, child.Process.Pid), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := `[ ! -e "$0/told" ] || exit 1; : >"$0/told"; echo >"$0/order"; read x <"$0/answer"; exit 1`
	status := `[ ! -e "$0/told" ] || exit 3`
	s, err := pgops.NewServer(pgops.ServerOptions{BinDir: "/b", DataDir: data, LogFile: "/l", Control: pgops.Control{
		Start: []string{"/bin/true"}, Stop: []string{"/bin/sh", "-c", stop, bin}, Status: []string{"/bin/sh", "-c", status, bin},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), pgops.StopEscalate); err != nil {
		t.Errorf("got %v, want it seen to be down", err)
	}
	_ = in.Close()
	_ = child.Wait()
	if child.ProcessState.ExitCode() != 7 {
		t.Errorf("it ended with %s, want its own end", child.ProcessState)
	}
}

func TestControlIsChecked(t *testing.T) {
	argv := []string{"/bin/true"}
	for name, control := range map[string]pgops.Control{
		"unit and commands":    {Unit: "pg", Start: argv, Stop: argv, Status: argv},
		"no status":            {Start: argv, Stop: argv},
		"relative program":     {Start: []string{"true"}, Stop: argv, Status: argv},
		"an option for a unit": {Unit: "--force"},
		"a timer":              {Unit: "pg.timer "},
		"unknown user":         {Start: argv, Stop: argv, Status: argv, User: "no-such-user-here"},
	} {
		_, err := pgops.NewServer(pgops.ServerOptions{BinDir: "/b", DataDir: "/d", LogFile: "/l", Control: control})
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
