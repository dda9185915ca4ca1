// Package command runs child processes the one allowed way: without a shell,
// under a context, in the C locale with a minimal environment, in a process
// group of their own, with bounded output, and with an error that names the
// whole argument list. A child's standard output read as a stream ends in EOF
// only if the child exited 0.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	// MaxOutput bounds what Output returns, in bytes.
	MaxOutput = 64 << 20
	// maxStderr is how much of the end of standard error is kept.
	maxStderr = 16 << 10
	// DefaultWaitDelay is how long a cancelled child may take to end after
	// SIGTERM, and how long a descendant may keep its pipes open after it ended.
	DefaultWaitDelay = 5 * time.Second
	// searchPath is the PATH of every child; ZFS tools live in sbin.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Command describes a child process. It holds no state: one value may be run
// many times, and concurrently if Stdin is nil.
type Command struct {
	// Path is the program: absolute, or a name looked up in this process's PATH.
	Path string
	// Args are the arguments after the program's name.
	Args []string
	// Env is added to PATH and LC_ALL=C; nothing else of this process's
	// environment reaches the child.
	Env []string
	Dir string
	// Stdin is nil for the null device. An *os.File becomes the child's own. Any
	// other reader is read only while the child runs; if it is an io.Closer it is
	// closed when the child fails first, so that a blocked Read ends and nothing
	// reads it afterwards.
	Stdin io.Reader
	// Credential is nil for this process's own identity.
	Credential *Credential
	// WaitDelay replaces DefaultWaitDelay when it is not 0.
	WaitDelay time.Duration
}

// Run runs the child to its end and discards its standard output.
func (c Command) Run(ctx context.Context) error { return c.run(ctx, nil) }

// Output runs the child to its end and returns its standard output. More than
// MaxOutput bytes are an error.
func (c Command) Output(ctx context.Context) ([]byte, error) {
	out := limitedBuffer{limit: MaxOutput}
	err := c.run(ctx, &out)
	if out.overflow {
		return nil, &Error{Argv: c.argv(), ExitCode: -1, Cause: fmt.Errorf("%w: more than %d bytes", ErrOutputTooLong, MaxOutput)}
	}
	if err != nil {
		return nil, err
	}
	return out.buf.Bytes(), nil
}

// run is Run with standard output going to w if that is not nil.
func (c Command) run(ctx context.Context, w io.Writer) error {
	p := c.process(ctx, nil)
	if w != nil {
		p.cmd.Stdout = w
	}
	feed, err := p.startFed(c.Stdin)
	if err != nil {
		return err
	}
	err = p.wait()
	return p.result(err, feed.finish(err == nil))
}

// process is one run of a Command.
type process struct {
	cmd    *exec.Cmd
	ctx    func() error // the cause of the context's end, nil while it lasts
	argv   []string
	stderr *tail
	killer *time.Timer
}

// process prepares a run; onCancel, if any, is called when ctx ends first.
func (c Command) process(ctx context.Context, onCancel func()) *process {
	delay := c.WaitDelay
	if delay == 0 {
		delay = DefaultWaitDelay
	}
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = append([]string{"PATH=" + searchPath, "LC_ALL=C"}, c.Env...)
	cmd.Dir = c.Dir
	cmd.WaitDelay = delay
	cmd.SysProcAttr = c.Credential.sysProcAttr()
	p := &process{cmd: cmd, argv: c.argv(), stderr: &tail{limit: maxStderr}}
	p.ctx = func() error { return causeOf(ctx) }
	cmd.Stderr = p.stderr
	cmd.Cancel = func() error {
		err := p.terminate(delay)
		if onCancel != nil {
			onCancel()
		}
		return err
	}
	return p
}

func (c Command) argv() []string { return append([]string{c.Path}, c.Args...) }

// startFed starts the child with r as its standard input.
func (p *process) startFed(r io.Reader) (*feeder, error) {
	var feed *feeder
	var err error
	if file, ok := r.(*os.File); ok {
		p.cmd.Stdin = file // the child reads it itself
	} else if r != nil {
		if feed, err = newFeeder(r); err != nil {
			return nil, p.failed(err)
		}
		p.cmd.Stdin = feed.child
	}
	err = p.cmd.Start()
	children.started(p.cmd.Path, err)
	feed.started(err == nil)
	if err != nil {
		return nil, p.failed(err)
	}
	return feed, nil
}

// wait waits for the child. That a descendant keeps the pipes of a child open
// that exited 0 is not the child's failure: pg_ctl start leaves such a
// descendant behind, and what the child itself wrote has been read by then.
func (p *process) wait() error {
	err := p.waitForIt()
	children.ended(p.cmd.Path, err)
	return err
}

func (p *process) waitForIt() error {
	err := p.cmd.Wait()
	if p.killer != nil {
		p.killer.Stop()
	}
	if errors.Is(err, exec.ErrWaitDelay) && p.cmd.ProcessState.Success() && p.ctx() == nil {
		return nil
	}
	return err
}

// result joins what the child, its context and its input have to say.
func (p *process) result(childErr, feedErr error) error {
	if childErr == nil && feedErr == nil {
		return nil
	}
	e := &Error{Argv: p.argv, ExitCode: -1, Stderr: p.stderr.String()}
	if s := p.cmd.ProcessState; s != nil {
		e.ExitCode = s.ExitCode()
	}
	// A child that ends by itself after SIGTERM hides why it had to: exec reports
	// only its exit status then.
	e.Cause = errors.Join(feedErr, p.ctx(), childErr)
	return e
}

// failed is the error of a child that was never there.
func (p *process) failed(err error) error {
	return &Error{Argv: p.argv, ExitCode: -1, Cause: errors.Join(p.ctx(), err)}
}

func causeOf(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	// Callers compare with context.Canceled and with a cause of their own.
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return errors.Join(ctx.Err(), cause)
	}
	return context.Cause(ctx)
}

// limitedBuffer refuses to grow without end.
type limitedBuffer struct {
	buf      bytes.Buffer
	limit    int
	overflow bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > b.limit {
		b.overflow = true
		return 0, ErrOutputTooLong
	}
	return b.buf.Write(p)
}

// LookPath finds a program in this process's PATH or, failing that, in the
// system directories, which the PATH of an unprivileged user often lacks.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, e := exec.LookPath(dir + string(os.PathSeparator) + name); e == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("look up program %s: %w", name, err)
}
