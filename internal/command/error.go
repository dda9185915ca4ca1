package command

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// ErrOutputTooLong means that the child wrote more than MaxOutput bytes.
var ErrOutputTooLong = errors.New("output too long")

// Error is a child that could not be run, did not exit 0, was cut short by its
// context, or whose input failed.
type Error struct {
	// Argv is the program and its arguments.
	Argv []string
	// ExitCode is -1 when the child did not start or was ended by a signal.
	ExitCode int
	// Stderr is the end of standard error, at most 16 KiB.
	Stderr string
	// Cause holds, joined, what applies of: the error of Stdin's Read, the cause of
	// the context's end, *exec.ExitError, the error of starting.
	Cause error
}

// Error is one line: argv, the cause, and the end of standard error.
func (e *Error) Error() string {
	var b strings.Builder
	for i, a := range e.Argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(a))
	}
	cause := strings.ReplaceAll(fmt.Sprint(e.Cause), "\n", "; ")
	fmt.Fprintf(&b, ": %s", cause)
	if s := lastLines(e.Stderr); s != "" {
		fmt.Fprintf(&b, ": %s", s)
	}
	return b.String()
}

// Unwrap gives errors.Is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Started reports whether the child ran at all.
func (e *Error) Started() bool {
	var exit *exec.ExitError
	var signal *SignalError
	return e.ExitCode >= 0 || errors.As(e.Cause, &exit) || errors.As(e.Cause, &signal)
}

// quote makes arguments with spaces, and very long ones, readable.
func quote(a string) string {
	const longest = 200
	if len(a) > longest {
		a = a[:longest] + "…"
	}
	if a == "" || strings.ContainsAny(a, " \t\n\"'\\") {
		return strconv.Quote(a)
	}
	return a
}

// lastLines is enough of standard error for a log line.
func lastLines(s string) string {
	const longest = 600
	s = strings.TrimSpace(s)
	if len(s) > longest {
		s = "…" + s[len(s)-longest:]
	}
	return strings.ReplaceAll(s, "\n", " | ")
}

// tail keeps the last limit bytes written to it. exec writes from one
// goroutine and, when a descendant keeps the pipe open, may still do so while
// String is called.
type tail struct {
	limit int

	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
