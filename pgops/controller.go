package pgops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// Control says who starts and stops PostgreSQL; the zero value is pg_ctl. Whoever
// it is, what the data directory shows decides whether a server runs.
type Control struct {
	// Unit is a systemd unit, like postgresql@15-main.service. It runs PostgreSQL as
	// the user that it names.
	Unit string
	// Start, Stop and Status are programs, by absolute path, with their arguments; all
	// three or none. Start returns once the server process is there, Stop once it is
	// gone. Status exits with 0 when the server runs, or is about to, and with 3 when
	// it does not, as pg_ctl status and the LSB have it.
	Start, Stop, Status []string
	// User is whom the commands run as, "" for ourselves.
	User string
	// Via runs systemctl for who may not, nil for nobody.
	Via command.Executor
}

// claim is what a controller says of the server. It is never the last word.
type claim struct {
	runs bool
	pid  int // 0 when it does not say
	text string
}

// controller is somebody else who keeps the server.
type controller interface {
	String() string
	start(ctx context.Context) error
	// stop returns when the server is gone for good: nobody starts it again.
	stop(ctx context.Context) error
	status(ctx context.Context) (claim, error)
}

func (c Control) controller() (controller, error) {
	commands := len(c.Start) + len(c.Stop) + len(c.Status)
	switch {
	case c.Unit != "" && commands > 0:
		return nil, errors.New("control PostgreSQL: a unit and commands are given; want one or the other")
	case c.Unit != "":
		return newUnit(c.Unit, c.Via)
	case commands > 0:
		return newCommands(c)
	}
	return nil, nil //nolint:nilnil // pg_ctl needs none
}

// claimed asks the controller, if there is one.
func (s *Server) claimed(ctx context.Context) (claim, error) {
	if s.control == nil {
		return claim{}, nil
	}
	return s.control.status(ctx)
}

// stopBy has the controller stop the server, also one that it is only about to
// start again, and believes the data directory.
func (s *Server) stopBy(ctx context.Context, mode StopMode) error {
	was, err := s.control.status(ctx)
	if err != nil {
		return err
	}
	if err := s.isNotOurs(was); err != nil {
		return err
	}
	pid, who, err := postmasterOf(s.options.DataDir)
	if err != nil {
		return err
	}
	if who == ours && !was.runs {
		return s.startedByOthers(pid)
	}
	if was.runs {
		err = s.controlled(ctx, s.control.stop)
	}
	if err != nil && who == ours && mode != StopFast && ctx.Err() == nil {
		// The controller has been told to stop it, and will not start it again. It may have
		// ended since, and its number be another's.
		if pid, who, again := postmasterOf(s.options.DataDir); again == nil && who == ours {
			_ = syscall.Kill(pid, syscall.SIGQUIT) // without the right to, the order fails again
		}
		err = s.controlled(ctx, s.control.stop)
	}
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(err, cause)
	}
	return s.isDown(ctx, err)
}

// isDown proves it, whatever the controller said: it may have ended by itself, which
// some call a failure, and one that was stopped with success may be there again.
func (s *Server) isDown(ctx context.Context, stopErr error) error {
	endErr := s.awaitEnd(ctx)
	pid, who, err := postmasterOf(s.options.DataDir)
	if err != nil {
		return errors.Join(stopErr, err)
	}
	switch now, err := s.control.status(ctx); {
	case err != nil:
		return errors.Join(stopErr, err)
	case who == ours && now.runs && stopErr != nil:
		return stopErr
	case who == ours:
		return s.startedByOthers(pid)
	case now.runs:
		return errors.Join(stopErr, fmt.Errorf("%w: %s is %s right after it was stopped; find out what starts it", messages.ErrBusy, s.control, now.text))
	}
	return endErr
}

// isNotOurs protects a server on another data directory from a controller that was
// given by mistake. A main process that is not PostgreSQL itself says nothing.
func (s *Server) isNotOurs(c claim) error {
	process := "/proc/" + strconv.Itoa(c.pid)
	if c.pid == 0 {
		return nil
	}
	if _, err := os.Readlink(process + "/exe"); errors.Is(err, fs.ErrPermission) {
		return s.isNotOfOurUser(c, process)
	}
	if !isPostgres(process) {
		return nil
	}
	who, err := worksIn("/proc", c.pid, s.options.DataDir)
	if err != nil || who != strangers {
		return nil //nolint:nilerr // no data directory: nothing to compare with
	}
	if _, err := VersionOf(process + "/cwd"); err != nil {
		return nil //nolint:nilerr // it is only starting, and has not gone to its data directory yet
	}
	return fmt.Errorf("%w: %s runs PostgreSQL as process %d in another data directory than %s; it is left alone",
		messages.ErrRefused, s.control, c.pid, s.options.DataDir)
}

// isNotOfOurUser is what an unprivileged process can tell of another user's. Root's says
// nothing: a service manager's child is that at first.
func (s *Server) isNotOfOurUser(c claim, process string) error {
	// No data directory: nothing to compare with. No process: it ended meanwhile.
	ours, known := ownerAt(s.options.DataDir)
	theirs, lives := ownerAt(process)
	if !known || !lives || theirs == 0 || theirs == ours {
		return nil
	}
	return fmt.Errorf("%w: %s runs process %d as user id %d, and %s belongs to user id %d; it is left alone",
		messages.ErrRefused, s.control, c.pid, theirs, s.options.DataDir, ours)
}

func ownerAt(path string) (uid int, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return ownerOf(info), true
}

func (s *Server) startedByOthers(pid int) error {
	return fmt.Errorf("%w: process %d works in %s, although %s is down: somebody else started it; stop process %[2]d, "+
		"and have PostgreSQL started by %[4]s only", messages.ErrBusy, pid, s.options.DataDir, s.control)
}

// controlled bounds one order to the controller.
func (s *Server) controlled(ctx context.Context, order func(context.Context) error) error {
	limit := s.options.StopTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took longer than %s: %w", s.control, limit, messages.ErrUnavailable))
	defer cancel()
	return order(ctx)
}

// commands are an operator's own.
type commands struct {
	startArgs, stopArgs, statusArgs []string
	credential                      *command.Credential
}

func newCommands(c Control) (controller, error) {
	for what, argv := range map[string][]string{"start": c.Start, "stop": c.Stop, "status": c.Status} {
		if len(argv) == 0 {
			return nil, fmt.Errorf("control PostgreSQL: no command to %s it; want all of start, stop and status", what)
		}
		if !filepath.IsAbs(argv[0]) || strings.ContainsRune(strings.Join(argv, ""), 0) {
			return nil, fmt.Errorf("control PostgreSQL: %s command %q: want an absolute path and arguments without NUL", what, argv[0])
		}
	}
	out := &commands{startArgs: c.Start, stopArgs: c.Stop, statusArgs: c.Status}
	if c.User != "" {
		var err error
		if out.credential, err = command.LookupCredential(c.User); err != nil {
			return nil, fmt.Errorf("control PostgreSQL: %w", err)
		}
	}
	return out, nil
}

func (c *commands) String() string { return "the start command " + c.startArgs[0] }

func (c *commands) command(argv []string) command.Command {
	return command.Command{Path: argv[0], Args: argv[1:], Dir: "/", Credential: c.credential, WaitDelay: time.Second}
}

func (c *commands) start(ctx context.Context) error { return c.command(c.startArgs).Run(ctx) }

func (c *commands) stop(ctx context.Context) error { return c.command(c.stopArgs).Run(ctx) }

// statusDown is LSB's "program is not running", and pg_ctl status's.
const statusDown = 3

func (c *commands) status(ctx context.Context) (claim, error) {
	err := c.command(c.statusArgs).Run(ctx)
	if err == nil {
		return claim{runs: true, text: "running"}, nil
	}
	if e, ok := errors.AsType[*command.Error](err); ok && e.ExitCode == statusDown && ctx.Err() == nil {
		return claim{text: "not running"}, nil
	}
	return claim{}, fmt.Errorf("status of PostgreSQL: want exit code 0 (it runs) or %d (it does not): %w", statusDown, err)
}
