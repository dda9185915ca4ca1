package command_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/command"
)

// leakChecked looks for goroutines left behind by the whole run.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"child": child})
}

// run is the child with a script.
func run(script ...string) command.Command {
	return command.Command{
		Path: "child", Args: script,
		// A race detector's child sleeps a second at its end otherwise.
		Env:       []string{"GORACE=atexit_sleep_ms=0"},
		WaitDelay: 2 * time.Second,
	}
}

func TestOutputIsWhatTheChildWrote(t *testing.T) {
	got, err := run("out", "a b", "err", "noise").Output(t.Context())
	if err != nil || string(got) != "a b" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestTheEnvironmentIsMinimal(t *testing.T) {
	t.Setenv("PGRESYNC_SECRET", "x")
	c := run("env")
	c.Env = append(c.Env, "MORE=1")
	got, err := c.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(got)) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	if g := strings.Join(names, " "); g != "PATH LC_ALL GORACE MORE" {
		t.Fatalf("got %s", g)
	}
}

func TestAFailureNamesArgumentsStatusAndStderr(t *testing.T) {
	err := run("err", "no such\nthing", "exit", "7").Run(t.Context())
	var e *command.Error
	if !errors.As(err, &e) || e.ExitCode != 7 || e.Stderr != "no such\nthing" || !e.Started() {
		t.Fatalf("got %#v", err)
	}
	want := `child err "no such\nthing" exit 7: exit status 7: no such | thing`
	if err.Error() != want {
		t.Fatalf("got  %s\nwant %s", err, want)
	}
}

func TestAMissingProgramIsAnErrorThatSaysSo(t *testing.T) {
	for _, path := range []string{"no-such-program-at-all", "/nonexistent/program"} {
		err := command.Command{Path: path}.Run(t.Context())
		var e *command.Error
		if !errors.As(err, &e) || e.Started() || e.ExitCode != -1 || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
		if _, err := (command.Command{Path: path}).Stream(t.Context()); !errors.As(err, &e) {
			t.Errorf("stream: got %v", err)
		}
	}
}

func TestStderrIsBounded(t *testing.T) {
	err := run("flood-err", "1000000", "err", "the end", "exit", "1").Run(t.Context())
	var e *command.Error
	if !errors.As(err, &e) || len(e.Stderr) != 16<<10 || !strings.HasSuffix(e.Stderr, "the end") {
		t.Fatalf("got %d bytes of %v", len(e.Stderr), err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	_, err := run("flood", strconv.Itoa(command.MaxOutput+1)).Output(t.Context())
	if !errors.Is(err, command.ErrOutputTooLong) {
		t.Fatalf("got %v", err)
	}
}

func TestTheReasonOfACancellationIsKept(t *testing.T) {
	reason := errors.New("the operator said so")
	// A child that ends by itself on SIGTERM hides the reason from exec.
	for _, script := range [][]string{{"ready-term-exit", "7"}, {"ready", "hang"}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := run(script...).Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		awaitReady(t, r)
		cancel(reason)
		_, err = io.ReadAll(r)
		if !errors.Is(err, reason) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v: got %v", script, err)
		}
		r.Close()
	}
}

func TestAChildThatIgnoresSIGTERMIsKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := run("ignore-term", "ready", "hang")
	c.WaitDelay = 50 * time.Millisecond
	r, err := c.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, r)
	cancel()
	var e *command.Error
	if _, err := io.ReadAll(r); !errors.As(err, &e) || e.ExitCode != -1 {
		t.Fatalf("got %v", err)
	}
	r.Close()
}

func TestTheWholeProcessGroupEnds(t *testing.T) {
	// The pipe's write end lives as long as any of the group: its end is the proof.
	alive, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c := run("spawn", "ready", "hang")
	c.Stdin = end
	r, err := c.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, r)
	cancel()
	r.Close()
	end.Close()
	if _, err := io.ReadAll(alive); err != nil {
		t.Fatal(err)
	}
}

func TestADescendantThatKeepsThePipeDoesNotHangOutput(t *testing.T) {
	// The daemon ends when the other end of its standard input closes.
	in, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer release.Close()
	defer in.Close()
	c := run("daemon", "out", "started")
	c.Stdin = in
	c.WaitDelay = 100 * time.Millisecond
	got, err := c.Output(t.Context())
	if err != nil || string(got) != "started" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestAStreamEndsInEOFOnlyAfterExitStatusZero(t *testing.T) {
	r, err := run("flood", "700000").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 700000 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
	r.Close()

	r, err = run("flood", "700000", "err", "broken", "exit", "1").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var e *command.Error
	if n, err := io.Copy(io.Discard, r); n != 700000 || !errors.As(err, &e) || e.Stderr != "broken" {
		t.Fatalf("got %d, %v", n, err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.As(err, &e) {
		t.Fatalf("the second time: got %v", err)
	}
}

func TestCloseEndsAChildThatStillWrites(t *testing.T) {
	r, err := run("flood", "1000000000").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 10); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("a stream that was cut short ended in %v", err)
	}
}

func TestCloseEndsABlockedRead(t *testing.T) {
	r, err := run("ready", "hang").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, r)
	read := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 1))
		read <- err
	}()
	r.Close()
	if err := <-read; err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
}

func TestInputReachesTheChild(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 300_000)
	c := run("cat")
	c.Stdin = bytes.NewReader(want)
	got, err := c.Output(t.Context())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func TestAnInputErrorIsTheRunsError(t *testing.T) {
	broken := errors.New("the network broke")
	for _, exit := range []string{"0", "1"} {
		c := run("count", "exit", exit)
		c.Stdin = io.MultiReader(strings.NewReader("12345"), failing{broken})
		err := c.Run(t.Context())
		var e *command.Error
		if !errors.Is(err, broken) || !errors.As(err, &e) || e.Stderr != "5" {
			t.Errorf("exit %s: got %v", exit, err)
		}
	}
}

func TestAChildThatFailsEndsABlockedInput(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	c := run("err", "no", "exit", "1")
	c.Stdin = r
	var e *command.Error
	if err := c.Run(t.Context()); !errors.As(err, &e) || e.Stderr != "no" || errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("got %v", err)
	}
}

// goesOn blocks until it is closed, and then has more, as a network has that was only
// slow.
type goesOn struct {
	closed chan struct{}
	reads  int
}

func (g *goesOn) Read(p []byte) (int, error) {
	<-g.closed
	if g.reads++; g.reads > 100 {
		return 0, io.EOF
	}
	return len(p), nil
}

func (g *goesOn) Close() error { close(g.closed); return nil }

func TestWhatComesAfterTheChildsEndIsNotRead(t *testing.T) {
	in := &goesOn{closed: make(chan struct{})}
	c := run("err", "no", "exit", "1")
	c.Stdin = in
	var e *command.Error
	if err := c.Run(t.Context()); !errors.As(err, &e) || e.Stderr != "no" {
		t.Fatalf("got %v", err)
	}
	if in.reads != 1 {
		t.Errorf("%d reads, want the one that was blocked", in.reads)
	}
}

func TestAChildThatDoesNotWantAllOfItsInputIsReported(t *testing.T) {
	c := run("exit", "0")
	c.Stdin = io.LimitReader(zeros{}, 100<<20)
	if err := c.Run(t.Context()); !errors.Is(err, command.ErrInputLeft) {
		t.Fatalf("got %v", err)
	}
}

func TestCredentialsOfTheSameUser(t *testing.T) {
	c := run("out", "ok")
	c.Credential = &command.Credential{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if got, err := c.Output(t.Context()); err != nil || string(got) != "ok" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestCredentialsOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the user takes root")
	}
	c := command.Command{Path: "/usr/bin/id", Args: []string{"-G"}, Credential: &command.Credential{UID: 65534, GID: 4242, Groups: []uint32{4242, 4243}}}
	if got, err := c.Output(t.Context()); err != nil || strings.TrimSpace(string(got)) != "4242 4243" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestLookupCredential(t *testing.T) {
	c, err := command.LookupCredential("root")
	if err != nil || c.UID != 0 || c.GID != 0 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if _, err := command.LookupCredential("no such user at all"); err == nil {
		t.Fatal("no error")
	}
}

func TestLookPathFindsWhatIsInSbinOnly(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	if _, err := command.LookPath("no-such-program-at-all"); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat("/usr/sbin/nologin"); err != nil {
		t.Skip("no /usr/sbin/nologin to find")
	}
	if p, err := command.LookPath("nologin"); err != nil || !strings.HasSuffix(p, "sbin/nologin") {
		t.Fatalf("got %q, %v", p, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func awaitReady(t *testing.T, r io.Reader) {
	t.Helper()
	b := make([]byte, 1)
	if _, err := io.ReadFull(r, b); err != nil || b[0] != '!' {
		t.Fatalf("got %q, %v", b, err)
	}
}
