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
	// Via runs the program instead of this process, nil for nobody. Env, Dir and
	// Credential are then its business.
	Via Executor
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

// Attach runs the child to its end with these files as its own standard output and
// standard error. They stay the caller's. A nil stdout is the null device, a nil
// stderr is kept for the error.
func (c Command) Attach(ctx context.Context, stdout, stderr *os.File) error {
	to := streams{}
	if stdout != nil {
		to.out = stdout
	}
	if stderr != nil {
		to.err = stderr
	}
	return c.finish(ctx, c.process(ctx, to, nil))
}

// run is Run with standard output going to w if that is not nil.
func (c Command) run(ctx context.Context, w io.Writer) error {
	return c.finish(ctx, c.process(ctx, streams{out: w}, nil))
}

func (c Command) finish(ctx context.Context, p *process) error {
	feed, err := p.startFed(ctx, c.Stdin)
	if err != nil {
		return err
	}
	err = p.wait()
	return p.result(err, feed.finish(err == nil))
}

// process is one run of a Command.
type process struct {
	child  child
	path   string
	ctx    func() error // the cause of the context's end, nil while it lasts
	argv   []string
	stderr *tail
}

// child is a program that this process runs, or has run by an Executor.
type child interface {
	start(ctx context.Context, stdin *os.File) error
	wait() error
	// exitCode is -1 when there is none.
	exitCode() int
}

// streams are where a child's output goes; an *os.File becomes the child's own. No
// out is the null device, no err is kept for the error.
type streams struct{ out, err io.Writer }

// process prepares a run; onCancel, if any, is called when ctx ends first.
func (c Command) process(ctx context.Context, to streams, onCancel func()) *process {
	delay := c.WaitDelay
	if delay == 0 {
		delay = DefaultWaitDelay
	}
	p := &process{path: c.Path, argv: c.argv(), stderr: &tail{limit: maxStderr}}
	p.ctx = func() error { return causeOf(ctx) }
	if to.err == nil {
		to.err = p.stderr
	}
	if c.Via != nil {
		p.child = &remote{via: c.Via, path: c.Path, args: c.Args, to: to, delay: delay, onCancel: onCancel}
	} else {
		p.child = c.local(ctx, to, delay, onCancel)
	}
	return p
}

func (c Command) argv() []string { return append([]string{c.Path}, c.Args...) }

// startFed starts the child with r as its standard input.
func (p *process) startFed(ctx context.Context, r io.Reader) (*feeder, error) {
	var feed *feeder
	var stdin *os.File
	var err error
	if file, ok := r.(*os.File); ok {
		stdin = file // the child reads it itself
	} else if r != nil {
		if feed, err = newFeeder(r); err != nil {
			return nil, p.failed(err)
		}
		stdin = feed.child
	}
	err = p.child.start(ctx, stdin)
	children.started(p.path, err)
	feed.started(err == nil)
	if err != nil {
		return nil, p.failed(err)
	}
	return feed, nil
}

func (p *process) wait() error {
	err := p.child.wait()
	children.ended(p.path, err)
	return err
}

// result joins what the child, its context and its input have to say.
func (p *process) result(childErr, feedErr error) error {
	if childErr == nil && feedErr == nil {
		return nil
	}
	e := &Error{Argv: p.argv, ExitCode: p.child.exitCode(), Stderr: p.stderr.String()}
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
