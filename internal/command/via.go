package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Executor runs programs for a process that has not the right to.
type Executor interface {
	// Start begins a program with these files as its standard streams; nil is the
	// null device. They stay the caller's, who may close them once it has returned.
	Start(path string, args []string, stdin, stdout, stderr *os.File) (Execution, error)
}

// Execution is a program that an Executor runs.
type Execution interface {
	// Done is closed when the program has ended.
	Done() <-chan struct{}
	// Result is valid then: an exit code, or -1 with the reason, *SignalError for a
	// signal.
	Result() (code int, err error)
	// Terminate asks the program to end and has it killed if it does not.
	Terminate()
}

// SignalError is a program of an Executor's that was ended by a signal.
type SignalError struct{ Signal string }

func (e *SignalError) Error() string { return "signal: " + e.Signal }

// statusError is a program of an Executor's that did not exit 0, in the words of
// *exec.ExitError.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// remote is the child of an Executor.
type remote struct {
	via      Executor
	path     string
	args     []string
	to       streams
	delay    time.Duration
	onCancel func()

	run     Execution
	copies  sync.WaitGroup
	read    []*os.File // what copies read
	watched chan struct{}
	cut     error // the context's end, once watched is closed
}

func (r *remote) start(ctx context.Context, stdin *os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stdout, err := r.file(r.to.out)
	if err != nil {
		return err
	}
	defer r.sent(stdout, r.to.out)
	stderr, err := r.file(r.to.err)
	if err != nil {
		return err
	}
	defer r.sent(stderr, r.to.err)
	if r.run, err = r.via.Start(r.path, r.args, stdin, stdout, stderr); err != nil {
		return err
	}
	r.watched = make(chan struct{})
	go r.watch(ctx)
	return nil
}

// file is w itself, or a pipe that is copied to it until the program and all of its
// descendants have closed it.
func (r *remote) file(w io.Writer) (*os.File, error) {
	if f, ok := w.(*os.File); ok || w == nil {
		return f, nil
	}
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.read = append(r.read, from)
	r.copies.Go(func() {
		defer func() { _ = from.Close() }() // read to its end, or given up
		_, _ = io.Copy(w, from)             // who refuses bytes remembers why
	})
	return to, nil
}

// sent closes our copy of a pipe's end: the program has its own.
func (*remote) sent(f *os.File, w io.Writer) {
	if own, ok := w.(*os.File); f != nil && (!ok || own != f) {
		_ = f.Close() // nothing is buffered in it
	}
}

func (r *remote) watch(ctx context.Context) {
	defer close(r.watched)
	select {
	case <-r.run.Done():
	case <-ctx.Done():
		r.cut = ctx.Err()
		r.run.Terminate()
		if r.onCancel != nil {
			r.onCancel()
		}
		<-r.run.Done()
	}
}

func (r *remote) wait() error {
	<-r.watched
	giveUp := time.AfterFunc(r.delay, func() {
		for _, f := range r.read {
			_ = f.Close() // a descendant keeps the other end open
		}
	})
	r.copies.Wait()
	giveUp.Stop()
	code, err := r.run.Result()
	switch {
	case err != nil:
		return err
	case code != 0:
		return statusError(code)
	}
	return r.cut
}

func (r *remote) exitCode() int {
	if r.run == nil {
		return -1
	}
	select {
	case <-r.run.Done():
		code, _ := r.run.Result()
		return code
	default:
		return -1
	}
}
