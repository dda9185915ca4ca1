package world

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child that runs beside the test.
type Process struct {
	cmd  *exec.Cmd
	name string
	done chan struct{}
	err  error // valid once done is closed
}

// start runs argv. The child does not end with ctx: it is ended by its owner.
func start(ctx context.Context, n *Node, source string, env map[string]string, argv []string) (*Process, error) {
	log, err := openLog(filepath.Join(n.Out(), source+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", source, n.Name, err)
	}
	out := &tee{file: log, line: func(line string) { n.logged(source, line) }}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	cmd.Env = environment(env)
	cmd.Stdout, cmd.Stderr = out, out
	// What a killed child leaves behind may hold its output open.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", source, n.Name, err)
	}
	p := &Process{cmd: cmd, name: source + " on " + n.Name, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
		_ = log.Close() // a log is no result
	}()
	return p, nil
}

// environment is all that a child sees, so that nothing of the machine's own gets
// into a test.
func environment(env map[string]string) []string {
	out := []string{
		"PATH=" + searchPath(),
		"LC_ALL=C.UTF-8", "HOME=/root", "TMPDIR=" + os.TempDir(),
		// pg_ctl's own minute is for a processor of one's own.
		fmt.Sprintf("PGCTLTIMEOUT=%d", int(patience.Seconds())),
	}
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

func searchPath() string {
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + postgresBin()
}

// postgresBin is Debian's directory of the newest PostgreSQL's programs.
func postgresBin() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	if len(dirs) == 0 {
		return "/usr/bin"
	}
	return dirs[len(dirs)-1]
}

// String names the process and says how it ended.
func (p *Process) String() string {
	if p.Running() {
		return p.name
	}
	return fmt.Sprintf("%s (%v)", p.name, p.err)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the child has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig; to a child that has ended it does nothing.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Pause stops the child where it is, Resume lets it go on.
func (p *Process) Pause() { p.Signal(syscall.SIGSTOP) }

// Resume is the end of Pause.
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }

// Kill9 kills the child and waits for its end. It may be called again.
func (p *Process) Kill9() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the child to end, and kills it when it has not done so after a while,
// which is an error; so is an end with another status than 0. A program in Go leaves
// in its log what it was at.
func (p *Process) Stop() error {
	// As long as systemd has it (DefaultTimeoutStopSec).
	const grace, words = 90 * time.Second, 10 * time.Second
	p.Signal(syscall.SIGTERM)
	if !p.endsWithin(grace) {
		p.Signal(syscall.SIGQUIT)
		_ = p.endsWithin(words) // or else it is killed without a word
		p.Kill9()
		return fmt.Errorf("stop %s: it did not end within %s of SIGTERM and was killed", p.name, grace)
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.name, p.err)
	}
	return nil
}

func (p *Process) endsWithin(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// tee writes to a file and hands every whole line on.
type tee struct {
	line func(string)

	mu   sync.Mutex
	file *os.File
	rest []byte
}

func (t *tee) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.file.Write(b) // a full disk must not stop the child
	t.rest = append(t.rest, b...)
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		t.rest = rest
		t.line(strings.TrimRight(string(line), "\r"))
	}
}
