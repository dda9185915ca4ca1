package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// local is a child of this process.
type local struct {
	cmd    *exec.Cmd
	ended  func() bool // whether the context has
	killer *time.Timer
}

func (c Command) local(ctx context.Context, to streams, delay time.Duration, onCancel func()) *local {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = append([]string{"PATH=" + searchPath, "LC_ALL=C"}, c.Env...)
	cmd.Dir = c.Dir
	cmd.WaitDelay = delay
	cmd.SysProcAttr = c.Credential.sysProcAttr()
	cmd.Stdout, cmd.Stderr = to.out, to.err
	l := &local{cmd: cmd, ended: func() bool { return ctx.Err() != nil }}
	cmd.Cancel = func() error {
		err := l.terminate(delay)
		if onCancel != nil {
			onCancel()
		}
		return err
	}
	return l
}

func (l *local) start(_ context.Context, stdin *os.File) error {
	if stdin != nil {
		l.cmd.Stdin = stdin
	}
	return l.cmd.Start()
}

// wait waits for the child. That a descendant keeps the pipes of a child open
// that exited 0 is not the child's failure: pg_ctl start leaves such a
// descendant behind, and what the child itself wrote has been read by then.
func (l *local) wait() error {
	err := l.cmd.Wait()
	if l.killer != nil {
		l.killer.Stop()
	}
	if errors.Is(err, exec.ErrWaitDelay) && l.cmd.ProcessState.Success() && !l.ended() {
		return nil
	}
	return err
}

func (l *local) exitCode() int {
	if s := l.cmd.ProcessState; s != nil {
		return s.ExitCode()
	}
	return -1
}

// terminate asks the child's process group to end and sees to it after delay.
// It runs before the child has been waited for, so the group's id is still its.
func (l *local) terminate(delay time.Duration) error {
	pid := l.cmd.Process.Pid
	l.killer = time.AfterFunc(delay, func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil {
		return os.ErrProcessDone
	}
	return nil
}
