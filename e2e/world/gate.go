package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgresync/pgresync/internal/progtest"
)

// Gate stands between a sidecar and the zfs command: it holds calls back, before
// or after they were done, and makes them fail, so that a test can strike exactly
// at one of them. It is a wrapper that comes first in the sidecar's PATH.
type Gate struct{ dir string }

// The files in the gate's directory: what is to be held, who is, what fails.
const (
	gateHold = "hold"
	gateFail = "fail"
	gateHeld = "held."
)

// gateScript uses the shell's own means as far as it can: the machine is emulated,
// and every child costs. Journals are always written, whatever is to fail: without
// them the failure could not be told.
const gateScript = `#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
g='%s'
call="$*"
stop_here() {
	printf '%%s %%s\n' "$1" "$call" >"$g/new.$$" && mv "$g/new.$$" "$g/held.$$"
	while [ -e "$g/held.$$" ] && [ -e "$g/hold" ]; do sleep 0.05; done
	rm -f "$g/held.$$"
}
if [ -e "$g/fail" ]; then
	case "$call" in
	'set pgresync:journal='*) ;;
	*) echo 'cannot open dataset: I/O error' >&2; exit 1 ;;
	esac
fi
held=no
if [ -e "$g/hold" ] && read -r pattern <"$g/hold"; then
	case "$call" in $pattern) held=yes ;; esac
fi
[ $held = yes ] || exec zfs "$@"
stop_here before
zfs "$@"
status=$?
stop_here after
exit $status
`

// NewGate makes a gate for the node's sidecars. It is open.
func (n *Node) NewGate() (*Gate, error) {
	g := &Gate{dir: filepath.Join(n.world.o.Scratch, "gate-"+n.Name)}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, err
	}
	return g, progtest.Write(filepath.Join(g.dir, "zfs"), fmt.Appendf(nil, gateScript, g.dir), 0o755)
}

// Env are the settings of a sidecar that goes through the gate.
func (g *Gate) Env() map[string]string {
	return map[string]string{"PATH": g.dir + ":" + searchPath()}
}

// Close holds every call from now on whose arguments match the shell's pattern.
func (g *Gate) Close(pattern string) error {
	// Renamed into place: a wrapper must not read one that is half written.
	fresh := filepath.Join(g.dir, "new.hold")
	if err := os.WriteFile(fresh, []byte(pattern+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(g.dir, gateHold))
}

// Open lets all go on.
func (g *Gate) Open() error {
	return errors.Join(remove(filepath.Join(g.dir, gateHold)), g.Mend())
}

// Break makes every call fail, journals excepted; Mend is its end.
func (g *Gate) Break() error {
	return os.WriteFile(filepath.Join(g.dir, gateFail), nil, 0o600)
}

// Mend is the end of Break.
func (g *Gate) Mend() error { return remove(filepath.Join(g.dir, gateFail)) }

// Call is a call of zfs that the gate holds.
type Call struct {
	// Args are the command's, with blanks between them.
	Args string
	// Done says that zfs has done it, and only the caller does not know yet.
	Done bool

	file string
	pid  int
}

// Next waits for a held call. It returns the same one until that was let go.
func (g *Gate) Next(ctx context.Context, limit time.Duration) (c Call, err error) {
	err = Until(ctx, "a call of zfs at the gate", limit, func(context.Context) (bool, string) {
		var found bool
		c, found = g.held()
		return found, ""
	})
	return c, err
}

func (g *Gate) held() (Call, bool) {
	files, _ := filepath.Glob(filepath.Join(g.dir, gateHeld+"*")) // the pattern is well formed
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it went on meanwhile
		}
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(f), gateHeld))
		if err != nil {
			continue
		}
		when, args, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		return Call{Args: args, Done: when == "after", file: f, pid: pid}, true
	}
	return Call{}, false
}

// Go lets the call go on.
func (c Call) Go() error { return remove(c.file) }

// Kill ends a held call as a reset of the machine would: it is never done, unless
// it was already.
func (c Call) Kill() error {
	err := syscall.Kill(c.pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	return errors.Join(err, c.Go())
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
