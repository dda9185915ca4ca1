package natstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// roleEnv names the role of a test program that was started as a child of itself.
const roleEnv = "PGRESYNC_TEST_ROLE"

// Roles lets a test program play parts in processes of their own, which can be
// killed -9 as nothing inside a process can. TestMain calls it first; it returns
// only in the program that runs the tests. The part of a NATS server is always
// there, for StartProcess.
func Roles(roles map[string]func(arg string) error) {
	name := os.Getenv(roleEnv)
	if name == "" {
		return
	}
	play := roles[name]
	if name == serverRole {
		play = serve
	}
	if play == nil {
		fmt.Fprintf(os.Stderr, "no role %q\n", name)
		os.Exit(2) //nolint:revive // it stands for main
	}
	go func() { // nobody outlives the test that started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3) //nolint:revive // it stands for main
	}()
	if err := play(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:revive // it stands for main
	}
	os.Exit(0) //nolint:revive // it stands for main
}

// Child is a process that plays a role.
type Child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}
	err   error // how it ended; valid after done
}

// StartChild starts one. It is killed at the end of the test at the latest.
func StartChild(t testing.TB, role, arg string) *Child {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's context: that ends before the clean-ups.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, arg)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start role %s: %v", role, err)
	}
	c := &Child{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	t.Cleanup(c.Kill)
	return c
}

// Kill is kill -9, and waits until the process is gone.
func (c *Child) Kill() {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err) // a process of ours that cannot be killed
	}
	<-c.done
	_ = c.stdin.Close()
}

func (c *Child) signal(s os.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		panic(err) // a process of ours that is gone
	}
}

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err is nil when it ended well; valid after Done.
func (c *Child) Err() error { return c.err }
