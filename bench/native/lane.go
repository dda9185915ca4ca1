package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pgresync/pgresync/bench/report"
)

// lane is one repetition of one case: its files, its processes, its clock.
type lane struct {
	*bench
	ctx             context.Context //nolint:containedctx // a lane lives for one call
	src, work, sink string

	started []*child
	began   time.Time
	busy    float64 // of the whole machine, when the lane began
	result  report.Run
}

// child is a process under measurement.
type child struct {
	name   string
	cmd    *exec.Cmd
	stderr tail
	waited bool
}

// pipes are what a child is connected to; nil is the null device.
type pipes struct {
	in, out *os.File
	env     []string
}

// start starts a process. The files are the child's from then on.
func (l *lane) start(name string, p pipes, argv ...string) (*child, error) {
	c := &child{name: name, cmd: exec.CommandContext(l.ctx, argv[0], argv[1:]...)}
	// An interface that holds a nil file is not nil.
	if p.in != nil {
		c.cmd.Stdin = p.in
	}
	if p.out != nil {
		c.cmd.Stdout = p.out
	}
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = time.Second
	c.cmd.Env = append(append(os.Environ(), "HOME="+l.work, "LC_ALL=C"), p.env...)
	err := c.cmd.Start()
	for _, f := range []*os.File{p.in, p.out} {
		if f != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	l.started = append(l.started, c)
	return c, nil
}

// worker starts this program as a process under measurement.
func (l *lane) worker(name string, p pipes, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return l.start(name, p, append([]string{self, "worker"}, args...)...)
}

func (l *lane) begin() { l.began = time.Now() }

// stop stops the clock.
func (l *lane) stop() { l.result.Seconds = time.Since(l.began).Seconds() }

func (l *lane) value(name string, v float64) {
	if l.result.Values == nil {
		l.result.Values = map[string]float64{}
	}
	l.result.Values[name] = v
}

// wait waits for a process to end well, and adds up what it cost: what wait4(2)
// says of it and of the children that it waited for.
func (l *lane) wait(children ...*child) error {
	var errs []error
	for _, c := range children {
		if c.waited {
			continue
		}
		c.waited = true
		if err := c.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: %s", c.name, err, strings.TrimSpace(string(c.stderr.kept))))
		}
		if s := c.cmd.ProcessState; s != nil {
			l.result.Processes = append(l.result.Processes, report.Process{
				Name: c.name, CPU: (s.UserTime() + s.SystemTime()).Seconds(), RSS: peak(s),
			})
		}
	}
	return errors.Join(errs...)
}

// end leaves no process behind, and books what the rest of the machine did
// meanwhile: figures of a machine that was not idle are worth little.
func (l *lane) end() {
	for _, c := range l.started {
		if !c.waited {
			_ = c.cmd.Process.Kill()
			_ = l.wait(c) // it was killed
		}
	}
	ours := 0.0
	for _, p := range l.result.Processes {
		ours += p.CPU
	}
	l.value("others' CPU s", max(0, report.BusySeconds()-l.busy-ours))
}

// tail keeps the end of what a child has to say.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	const limit = 2 << 10
	t.kept = append(t.kept, p...)
	if len(t.kept) > limit {
		t.kept = t.kept[len(t.kept)-limit:]
	}
	return len(p), nil
}
