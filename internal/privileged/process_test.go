//go:build linux

package privileged

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/progtest"
)

// The test's program is all three: the test, the privileged part, which it starts as
// a process of its own, and the unprivileged part that this one starts.
func TestMain(m *testing.M) {
	client, err := Inherited()
	switch {
	case err != nil:
		fmt.Println(err)
		os.Exit(98)
	case client != nil:
		os.Exit(scenarios[os.Args[1]](client))
	case os.Getenv("PRIVILEGED_TEST_BASE") != "":
		os.Exit(parent(os.Getenv("PRIVILEGED_TEST_BASE")))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if programDir != "" {
			os.RemoveAll(programDir)
		}
		os.Exit(code)
	}))
}

// programDir is where program is, once it is there.
var programDir string

// program is a copy of this one that nobody may run, "" without the right to make it.
var program = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("/var/lib", "pgresync-test-")
	if err != nil {
		return ""
	}
	programDir = dir
	text, err := os.ReadFile("/proc/self/exe")
	path := filepath.Join(dir, "program")
	if err := errors.Join(err, os.Chmod(dir, 0o755), progtest.Write(path, text, 0o755)); err != nil {
		return ""
	}
	return path
})

// outsider is whom the unprivileged part runs as.
const outsider = "nobody"

func parent(base string) int {
	p := testPolicy()
	p.Mountpoints, p.StageDir = []string{base + "/mnt"}, base+"/stage"
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	code, err := Run(ctx, Options{
		Policy: *p, User: outsider, Args: os.Args[1:], Log: zerolog.New(os.Stderr),
		UsersOf: func(places []string, except ...int) []string { return []string{fmt.Sprint(places, len(except))} },
	})
	if err != nil {
		fmt.Println("parent:", err)
		return 99
	}
	return code
}

// fakeZFS does what its arguments say, and writes them down.
const fakeZFS = `#!/bin/sh
echo "$@" >>BASE/log
case "$*" in
version) echo zfs-2.3.9; env | sort | tr '\n' ' ' ;;
"get -Hp -o value,source mountpoint tank/pg") printf 'BASE/mnt\tlocal\n' ;;
"get -Hp -o value,source mountpoint tank/pg/elsewhere") printf '/etc\tlocal\n' ;;
"get -Hp -o value,source mountpoint tank/pg/inherited") printf 'BASE/mnt\tinherited from tank\n' ;;
"get -Hp -r -t filesystem -s local,received -o value sharenfs tank/pg") echo ro ;;
"get -Hp -o name fail tank/pg") echo 'what it says' >&2; exit 7 ;;
"get -Hp -o name signal tank/pg") kill -KILL $$ ;;
"get -Hp -o name hang tank/pg") echo $$ >BASE/pid; echo ready; exec sleep 600 ;;
"receive "*) exec wc -c ;;
mount*|clone*) ;;
list*) exit 1 ;;
*) exit 96 ;;
esac
`

type stage struct {
	t    *testing.T
	base string
}

// newStage makes a directory in which all on the way is root's, and nobody may run
// what lies there.
func newStage(t *testing.T) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("PGRESYNC_TEST_MUST_RUN") != "" {
			t.Fatal("must run as root")
		}
		t.Skip("privileges are separated by root only")
	}
	base, err := os.MkdirTemp("/var/lib", "pgresync-test-") //nolint:usetesting // all on the way to TempDir is not root's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	s := &stage{t, base}
	s.must(os.Chmod(base, 0o755))
	for _, dir := range []string{"mnt", "bin"} {
		s.must(os.Mkdir(filepath.Join(base, dir), 0o755))
	}
	s.must(progtest.Write(filepath.Join(base, "bin/zfs"), []byte(strings.ReplaceAll(fakeZFS, "BASE", base)), 0o755))
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) command(scenario string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), program(), scenario, s.base)
	cmd.Env = append([]string{
		"PATH=" + s.base + "/bin:/usr/bin:/bin", "PRIVILEGED_TEST_BASE=" + s.base, "HOME=/root", "WATCHDOG_PID=1", "GORACE=atexit_sleep_ms=0", "SECRET=x",
	}, env...)
	return cmd
}

func (s *stage) start(scenario string, env ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	s.t.Helper()
	cmd := s.command(scenario, env...)
	stdout, err := cmd.StdoutPipe()
	s.must(err)
	var log bytes.Buffer
	cmd.Stderr = &log
	s.must(cmd.Start())
	return cmd, bufio.NewReader(stdout), &log
}

// run has a scenario print what it found.
func (s *stage) run(scenario string, env ...string) (out string, code int, log string) {
	s.t.Helper()
	cmd, stdout, stderr := s.start(scenario, env...)
	b, err := io.ReadAll(stdout)
	s.must(err)
	_ = cmd.Wait()
	return string(b), cmd.ProcessState.ExitCode(), stderr.String()
}

func (s *stage) log() string {
	b, _ := os.ReadFile(filepath.Join(s.base, "log"))
	return string(b)
}

// scenarios are what the unprivileged part does.
var scenarios = map[string]func(*Client) int{
	"status": func(c *Client) int {
		b, _ := os.ReadFile("/proc/self/status")
		fmt.Print(string(b))
		socket := ""
		if raw, err := c.conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { socket, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) })
		}
		fmt.Println("socket", strings.HasPrefix(socket, "socket:["))
		out, err := (command.Command{Path: "sh", Args: []string{"-c", "echo inherited: $(ls -l /proc/self/fd | grep -c -F '" + socket + "')"}}).Output(context.Background())
		fmt.Println(string(out), err)
		fmt.Println("env", os.Getenv("HOME"), os.Getenv("USER"), os.Getenv("WATCHDOG_PID"), os.Getenv(marker), os.Getenv("SECRET"))
		return 5
	},
	"streams": func(c *Client) int {
		out, err := zfs(c, "version").Output(context.Background())
		fmt.Printf("%q %v\n", out, err)
		recv := zfs(c, "receive", "-s", "-u", "tank/pgresync/main/data"+s1)
		recv.Stdin = io.LimitReader(zeros{}, 3<<20)
		r, err := recv.Stream(context.Background())
		b, readErr := io.ReadAll(r)
		fmt.Printf("%s %v %v\n", bytes.TrimSpace(b), err, readErr)
		for _, what := range []string{"fail", "signal"} {
			err := zfs(c, "get", "-Hp", "-o", "name", what, "tank/pg").Run(context.Background())
			e := &command.Error{}
			fmt.Println(errors.As(err, &e), e.ExitCode, e.Started(), strings.TrimSpace(e.Stderr), e.Cause)
		}
		fmt.Println(c.UsersOf([]string{os.Args[2] + "/mnt"}))
		return 0
	},
	"cancel": func(c *Client) int {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := zfs(c, "get", "-Hp", "-o", "name", "hang", "tank/pg").Stream(ctx)
		fmt.Println(err)
		_, _ = io.ReadFull(r, make([]byte, len("ready\n")))
		cancel()
		_, err = io.ReadAll(r)
		fmt.Println(errors.Is(err, context.Canceled))
		fmt.Println(isGone(os.Args[2]))
		return 0
	},
	"hang": func(c *Client) int {
		r, err := zfs(c, "get", "-Hp", "-o", "name", "hang", "tank/pg").Stream(context.Background())
		if err != nil {
			return 1
		}
		_, _ = io.ReadFull(r, make([]byte, len("ready\n")))
		fmt.Println(os.Getpid())
		_, _ = io.ReadAll(r)
		return 2
	},
	"deaf": func(*Client) int {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGUSR1)
		fmt.Println("deaf")
		<-c
		return 0
	},
	"attack": attack,
	"garbage": func(c *Client) int {
		_, _ = c.conn.Write([]byte(`{"id":1,"program":"zfs","args":[],"root":true}`))
		<-c.gone
		return 0
	},
	"mount": func(c *Client) int {
		fmt.Println(zfs(c, "mount", "tank/pg").Run(context.Background()))
		info, err := os.Stat(os.Args[2] + "/mnt")
		fmt.Println(err, info.Sys().(*syscall.Stat_t).Uid == uint32(os.Getuid()))
		for _, d := range []string{"elsewhere", "inherited"} {
			fmt.Println(zfs(c, "mount", "tank/pg/"+d).Run(context.Background()))
		}
		for _, pair := range []string{"sharenfs=ro", "sharenfs=rw"} {
			fmt.Println(zfs(c, "clone", "-o", "canmount=noauto", "-o", pair, "tank/pgresync/main/data"+s1, "tank/pg.pgresync-next").Run(context.Background()))
		}
		return 0
	},
	"late": func(c *Client) int {
		fmt.Println("ready")
		_, _ = io.ReadAll(os.Stdin)
		fmt.Println(zfs(c, "mount", "tank/pg").Run(context.Background()))
		return 0
	},
	"notify": func(*Client) int {
		for _, text := range []string{"READY=1\nMAINPID=1", "MAINPID=1", "STOPPING=1"} {
			if err := tell(context.Background(), os.Getenv("NOTIFY_SOCKET"), text); err != nil {
				fmt.Println(err)
			}
		}
		fmt.Println("told")
		return 0
	},
}

func zfs(c *Client, args ...string) command.Command {
	return command.Command{Path: "zfs", Args: args, Via: c}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// ended1 tells whether the program that wrote down its id is gone: who may not end it
// learns that it is there.
func isGone(base string) bool {
	b, _ := os.ReadFile(base + "/pid")
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// attack asks for what it may not have, in the socket's own words.
func attack(c *Client) int {
	ask := func(what string, r request, files ...*os.File) {
		x, err := c.ask(r, files...)
		if err != nil {
			fmt.Println(what, "not sent:", err)
			return
		}
		<-x.done
		fmt.Println(what, x.reply.Code, x.err)
	}
	args := func(s ...string) (out [][]byte) {
		for _, a := range s {
			out = append(out, []byte(a))
		}
		return out
	}
	ask("foreign dataset", request{Program: "zfs", Args: args("destroy", "tank/other")})
	ask("everything below", request{Program: "zfs", Args: args("destroy", "-r", "tank/pg")})
	ask("another program", request{Program: "sh", Args: args("-c", "id")})
	ask("a path", request{Program: os.Args[2] + "/bin/zfs", Args: args("version")})
	ask("another unit", request{Program: "systemctl", Args: args("start", "sshd.service")})
	ask("another place", request{Users: []string{"/etc"}})
	f, err := os.Open("/proc/self/oom_score_adj")
	fmt.Println(err)
	ask("a file that is no pipe", request{Program: "zfs", Args: args("version"), Stdout: true}, f)
	ask("too long", request{Program: "zfs", Args: args("set", "pgresync:x="+strings.Repeat("x", maxMessage), "tank/pg")})
	fmt.Println(exec.CommandContext(context.Background(), "/bin/sh", "-c", "echo x >"+os.Args[2]+"/log").Run() != nil)
	var running []*execution
	for range maxOrders + 8 {
		x, err := c.ask(request{Program: "zfs", Args: args("get", "-Hp", "-o", "name", "hang", "tank/pg")})
		if err != nil {
			fmt.Println(err)
			return 1
		}
		running = append(running, x)
	}
	for _, x := range running[maxOrders:] {
		<-x.done
		fmt.Println("too many", x.err)
	}
	for _, x := range running[:maxOrders] {
		x.Terminate()
		<-x.done
	}
	return 0
}

func TestTheUnprivilegedPartHasNoPrivileges(t *testing.T) {
	s := newStage(t)
	out, code, _ := s.run("status")
	if code != 5 {
		t.Errorf("exit code %d, want the other part's 5", code)
	}
	for _, want := range []string{
		"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "NoNewPrivs:\t1\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		"socket true\n", "inherited: 0\n", // what it starts cannot ask
		"env /nonexistent nobody   x\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	_, groups, _ := strings.Cut(out, "Groups:\t")
	if groups, _, _ = strings.Cut(groups, "\n"); strings.Contains(" "+groups, " 0 ") {
		t.Errorf("it is still in root's groups: %s", groups)
	}
}

func TestCommandsBehaveAsIfTheyWereOnesOwn(t *testing.T) {
	s := newStage(t)
	out, code, log := s.run("streams")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, log)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{
		`"zfs-2.3.9\nLC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PWD=/ " <nil>`,
		"3145728 <nil> <nil>",
		"true 7 true what it says exit status 7",
		"true -1 true  signal: killed",
		"[[" + s.base + "/mnt] 1]",
	} {
		if lines[i] != want {
			t.Errorf("line %d: got\n%s\nwant\n%s", i, lines[i], want)
		}
	}
	if !strings.Contains(s.log(), "receive -s -u -o canmount=noauto -o devices=off -o mountpoint=none -o setuid=off tank/pgresync/main/data@") {
		t.Errorf("it ran\n%s", s.log())
	}
}

func TestACancelledCommandIsEnded(t *testing.T) {
	if out, _, log := newStage(t).run("cancel"); out != "<nil>\ntrue\ntrue\n" {
		t.Errorf("got\n%s\n%s", out, log)
	}
}

func TestWhatIsNotOnTheListIsRefusedAndLogged(t *testing.T) {
	s := newStage(t)
	out, code, log := s.run("attack")
	for _, what := range []string{"foreign dataset", "everything below", "another program", "a path", "another unit", "another place", "a file that is no pipe"} {
		if !strings.Contains(out, what+" -1 refused by the privileged part: ") {
			t.Errorf("%s was not refused", what)
		}
	}
	if !strings.Contains(out, "too long not sent") || strings.Count(out, "too many refused by the privileged part: 32 commands") != 8 || strings.Contains(out, "false") || code != 0 {
		t.Errorf("got %d\n%s", code, out)
	}
	if n := strings.Count(log, "refused to the unprivileged part"); n != 7 || !strings.Contains(log, `tank/other`) {
		t.Errorf("%d lines of the log:\n%s", n, log)
	}
	if strings.Contains(strings.ReplaceAll(s.log(), "get -Hp -o name hang tank/pg\n", ""), "tank/other") || strings.Contains(s.log(), "version") {
		t.Errorf("it ran\n%s", s.log())
	}
}

func TestMountsArriveWhereTheyBelong(t *testing.T) {
	s := newStage(t)
	out, _, log := s.run("mount")
	lines := strings.Split(out, "\n")
	if lines[0] != "<nil>" || lines[1] != "<nil> true" {
		t.Errorf("a new dataset was not mounted and given to its user:\n%s\n%s", out, log)
	}
	for i, want := range map[int]string{2: "refused", 3: "refused", 4: "<nil>", 5: "refused"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: got %q, want %q", i, lines[i], want)
		}
	}
	if log := s.log(); !strings.Contains(log, "mount -o nosuid,nodev tank/pg\n") || strings.Count(log, "\nmount ") != 1 || strings.Count(log, "\nclone ") != 1 {
		t.Errorf("it ran\n%s", log)
	}
}

func TestAPathThatOthersCanChangeIsRefused(t *testing.T) {
	s := newStage(t)
	for what, change := range map[string]func(dir string) error{
		"another's":      func(dir string) error { return os.Chown(dir, 65534, 65534) },
		"the world's":    func(dir string) error { return os.Chmod(dir, 0o777) },
		"a group's":      func(dir string) error { return errors.Join(os.Chown(dir, 0, 65534), os.Chmod(dir, 0o775)) },
		"a link":         func(dir string) error { return errors.Join(os.Remove(dir), os.Symlink("/etc", dir)) },
		"not there yet":  os.Remove,
		"as it is to be": func(string) error { return nil },
	} {
		dir := filepath.Join(s.base, "way")
		s.must(errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755), change(dir)))
		err := checkPath(dir + "/mnt")
		if fine := what == "not there yet" || what == "as it is to be"; (err == nil) != fine {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.must(os.Symlink("/etc", s.base+"/link"))
	if checkPath(s.base+"/link") == nil {
		t.Error("a mount point may be a link")
	}
	s.must(errors.Join(os.RemoveAll(s.base+"/mnt"), os.Symlink("/etc", s.base+"/mnt")))
	if out, code, _ := s.run("status"); code != 99 || !strings.Contains(out, "want a directory and no link") {
		t.Errorf("it began with %d: %s", code, out)
	}
}

func TestThePathIsLookedAtRightBeforeAMount(t *testing.T) {
	s := newStage(t)
	cmd := s.command("late")
	stdin, err := cmd.StdinPipe()
	s.must(err)
	stdout, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	out := bufio.NewReader(stdout)
	_, err = out.ReadString('\n')
	s.must(err)
	s.must(errors.Join(os.Remove(s.base+"/mnt"), os.Symlink("/etc", s.base+"/mnt"), stdin.Close()))
	if answer, err := io.ReadAll(out); err != nil || !strings.Contains(string(answer), "want a directory and no link") {
		t.Errorf("got %q, %v", answer, err)
	}
	_ = cmd.Wait()
	if strings.Contains(s.log(), "nosuid") {
		t.Errorf("it was mounted:\n%s", s.log())
	}
}

// Also one that does not look at its socket: the kernel sees to it.
func TestTheUnprivilegedPartDiesWithThePrivilegedOne(t *testing.T) {
	for _, scenario := range []string{"hang", "deaf"} {
		s := newStage(t)
		cmd, stdout, _ := s.start(scenario)
		_, err := stdout.ReadString('\n')
		s.must(err)
		s.must(cmd.Process.Kill())
		// Both hold the other end of the pipe.
		rest, err := io.ReadAll(stdout)
		if err != nil || len(rest) > 0 {
			t.Errorf("%s: got %q, %v", scenario, rest, err)
		}
		_ = cmd.Wait()
		// As without separation, a zfs outlives who is killed.
		if b, err := os.ReadFile(s.base + "/pid"); err == nil {
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			s.must(err)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestThePrivilegedPartEndsWithTheUnprivilegedOne(t *testing.T) {
	s := newStage(t)
	cmd, stdout, _ := s.start("hang")
	line, err := stdout.ReadString('\n')
	s.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	s.must(err)
	s.must(syscall.Kill(pid, syscall.SIGKILL))
	rest, err := io.ReadAll(stdout)
	s.must(err)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 99 || !strings.Contains(string(rest), "signal: killed") {
		t.Errorf("it ended with %d: %s", code, rest)
	}
	if !isGone(s.base) {
		t.Error("the command that ran for it still does")
	}
}

func TestABrokenProtocolEndsBoth(t *testing.T) {
	out, code, _ := newStage(t).run("garbage")
	if code != 99 || !strings.Contains(out, "not of the protocol") {
		t.Errorf("it ended with %d: %s", code, out)
	}
}

// The other part of this test does not listen: it dies of what was handed on.
func TestASignalIsHandedOn(t *testing.T) {
	s := newStage(t)
	cmd, stdout, log := s.start("hang")
	_, err := stdout.ReadString('\n')
	s.must(err)
	s.must(cmd.Process.Signal(syscall.SIGTERM))
	out, err := io.ReadAll(stdout)
	s.must(err)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d: %s\n%s", code, out, log)
	}
	if !isGone(s.base) {
		t.Error("the command that ran for it still does")
	}
}

func TestTheServiceManagerIsToldOfTheStateAndNoMore(t *testing.T) {
	s := newStage(t)
	path := s.base + "/notify"
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	s.must(err)
	defer conn.Close()
	out, code, log := s.run("notify", "NOTIFY_SOCKET="+path)
	if out != "told\n" || code != 0 {
		t.Fatalf("%d: %s\n%s", code, out, log)
	}
	s.must(conn.SetReadDeadline(time.Now().Add(10 * time.Second)))
	b := make([]byte, 100)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		n, err := conn.Read(b)
		if got := string(b[:n]); err != nil || got != want {
			t.Errorf("systemd was told %q, %v; want %q", got, err, want)
		}
	}
}

func TestRootIsNoUnprivilegedPart(t *testing.T) {
	s := newStage(t)
	out, code, _ := s.run("status", marker+"=3")
	if code != 98 || !strings.Contains(out, ErrRoot.Error()) {
		t.Errorf("it ended with %d: %s", code, out)
	}
}

func TestWhoUsesAMountIsNotWaitedForWithoutEnd(t *testing.T) {
	ours, theirs := pair(t)
	defer ours.Close()
	c := NewClient(theirs)
	c.patience = time.Millisecond
	if users := c.UsersOf([]string{"/srv/pg"}); users != nil {
		t.Errorf("got %q of somebody who does not answer", users)
	}
	c.Close()
}

func FuzzMessages(f *testing.F) {
	for _, r := range []request{{ID: 1, Program: "zfs", Args: [][]byte{[]byte("version")}, Stdin: true}, {ID: 1, Cancel: true}, {ID: 2, Users: []string{"/srv/pg"}}} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := pair(t)
		defer ours.Close()
		if len(b) == 0 || len(b) > maxMessage {
			return
		}
		if _, err := theirs.Write(b); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		s := &Server{Policy: Policy{Live: "tank/pg", Lineage: "tank/l"}, Log: zerolog.Nop(), UsersOf: func([]string) []string { return nil }}
		s.find = func(string) (string, error) { return "", errors.ErrUnsupported } // this machine's datasets are not for tests
		_ = s.Serve(t.Context(), ours)
	})
}

func pair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	a, b, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	ours, err1 := connection(a)
	theirs, err2 := connection(b)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}
