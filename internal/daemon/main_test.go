package daemon

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

const childMode = "PGRESYNC_TEST_SIGNALS_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		signalsChild()
		return
	}
	goleak.VerifyTestMain(m)
}

// signalsChild says when it is ready, that the first signal arrived, and then
// hangs, as a shut-down that never ends would.
func signalsChild() {
	ctx, stop := Signals(context.Background())
	defer stop()
	fmt.Fprintln(os.Stdout, "ready")
	<-ctx.Done()
	fmt.Fprintln(os.Stdout, context.Cause(ctx))
	select {}
}

func TestSecondSignalEndsTheProcess(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childMode+"=1")
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { child.Process.Kill() })
			lines := bufio.NewScanner(out)
			expectLine(t, lines, "ready")
			child.Process.Signal(sig)
			expectLine(t, lines, "signal "+sig.String())

			child.Process.Signal(sig)
			for lines.Scan() {
				t.Errorf("unexpected output %q", lines.Text())
			}
			child.Wait()
			if got, want := child.ProcessState.ExitCode(), 128+int(sig); got != want {
				t.Errorf("exit code %d, want %d", got, want)
			}
		})
	}
}

func expectLine(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("no more output, want %q", want)
	}
	if got := lines.Text(); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestSignalsFollowsItsParent(t *testing.T) {
	parent, cancel := context.WithCancel(context.Background())
	ctx, stop := Signals(parent)
	defer stop()
	if ctx.Err() != nil {
		t.Fatal("cancelled from the start")
	}
	cancel()
	<-ctx.Done()
}
