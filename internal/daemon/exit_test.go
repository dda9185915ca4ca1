package daemon

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"
)

func TestExitCode(t *testing.T) {
	child := exec.Command("/bin/sh", "-c", "exit 7").Run()
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"no error", nil, ExitOK},
		{"any error", errBroken, ExitFailure},
		{"a coded error", WithExitCode(errBroken, ExitPrerequisite), ExitPrerequisite},
		{"a wrapped coded error", fmt.Errorf("start: %w", WithExitCode(errBroken, ExitConflict)), ExitConflict},
		{"the outermost of two", WithExitCode(WithExitCode(errBroken, ExitConflict), ExitUsage), ExitUsage},
		{"a child's exit code is not ours", fmt.Errorf("run: %w", child), ExitFailure},
		{"a code for no error", WithExitCode(nil, ExitUsage), ExitOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ExitCode(c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestCodedErrorsKeepTheirCause(t *testing.T) {
	err := WithExitCode(errBroken, ExitConflict)
	if !errors.Is(err, errBroken) || err.Error() != errBroken.Error() {
		t.Errorf("got %v, want %v unchanged", err, errBroken)
	}
	if IsPermanent(err) {
		t.Error("a conflict passes: want it retryable")
	}
	if Permanent(nil) != nil {
		t.Error("Permanent(nil) is not nil")
	}
}
