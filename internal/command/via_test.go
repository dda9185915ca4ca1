package command_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/pgresync/pgresync/internal/command"
)

// executor runs programs in this process, as somebody else would.
type executor struct{ refuse error }

type execution struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

func (e executor) Start(path string, args []string, stdin, stdout, stderr *os.File) (command.Execution, error) {
	if e.refuse != nil {
		return nil, e.refuse
	}
	x := &execution{cmd: exec.CommandContext(context.Background(), path, args...), done: make(chan struct{})}
	x.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	// exec makes copies; the caller closes its own at once.
	if stdin != nil {
		x.cmd.Stdin = stdin
	}
	if stdout != nil {
		x.cmd.Stdout = stdout
	}
	if stderr != nil {
		x.cmd.Stderr = stderr
	}
	if err := x.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(x.done)
		x.err = x.cmd.Wait()
	}()
	return x, nil
}

func (x *execution) Done() <-chan struct{} { return x.done }

func (x *execution) Result() (int, error) {
	code := x.cmd.ProcessState.ExitCode()
	if code < 0 {
		return -1, &command.SignalError{Signal: "killed"}
	}
	return code, nil
}

func (x *execution) Terminate() { _ = x.cmd.Process.Signal(syscall.SIGTERM) }

func via(script ...string) command.Command {
	c := run(script...)
	c.Via = executor{}
	return c
}

func TestAnotherMayRunIt(t *testing.T) {
	got, err := via("out", "a b", "err", "noise").Output(t.Context())
	if err != nil || string(got) != "a b" {
		t.Errorf("got %q, %v", got, err)
	}
	err = via("err", "no such thing", "exit", "7").Run(t.Context())
	e, ok := errors.AsType[*command.Error](err)
	if !ok || e.ExitCode != 7 || e.Stderr != "no such thing" || !e.Started() || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v", err)
	}
	c := via("cat")
	c.Stdin = io.LimitReader(strings.NewReader(strings.Repeat("x", 3<<20)), 3<<20)
	if got, err := c.Output(t.Context()); err != nil || len(got) != 3<<20 {
		t.Errorf("input: %d bytes came back, %v", len(got), err)
	}
	c = via("exit", "3")
	c.Stdin = strings.NewReader(strings.Repeat("x", 3<<20))
	if err := c.Run(t.Context()); err == nil {
		t.Error("a failure with unread input is none")
	}
}

func TestAStreamOfAnothersProgramEndsInEOFOnlyAfterExitStatusZero(t *testing.T) {
	for _, tt := range []struct {
		more []string
		fine bool
	}{{nil, true}, {[]string{"err", "broken", "exit", "1"}, false}} {
		r, err := via(append([]string{"flood", "700000"}, tt.more...)...).Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if n != 700000 || (err == nil) != tt.fine {
			t.Errorf("%v: got %d, %v", tt.more, n, err)
		}
		r.Close()
	}
}

func TestAnothersProgramIsEndedWithTheContext(t *testing.T) {
	reason := errors.New("the operator said so")
	for _, script := range [][]string{{"ready-term-exit", "0"}, {"ready-term-exit", "7"}, {"ready", "hang"}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := via(script...).Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		awaitReady(t, r)
		cancel(reason)
		if _, err = io.ReadAll(r); !errors.Is(err, reason) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v: got %v", script, err)
		}
		r.Close()
	}
	// Close alone ends it, too.
	r, err := via("ready", "hang").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	awaitReady(t, r)
	r.Close()
}

func TestWhatAnotherDoesNotRunNeverStarted(t *testing.T) {
	refused := errors.New("not on the list")
	c := via("out", "x")
	c.Via = executor{refuse: refused}
	c.Stdin = strings.NewReader("x")
	err := c.Run(t.Context())
	if e, ok := errors.AsType[*command.Error](err); !ok || e.Started() || !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := via("out", "x").Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
