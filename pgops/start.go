package pgops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// StartError is a server that did not come up.
type StartError struct {
	DataDir string
	// Running is true when the server lives but did not accept connections in time:
	// a standby that still waits for WAL to become consistent (PG-8), for example. It
	// was left running.
	Running bool
	// Reason is ReasonSettingsTooLow, ReasonWrongCluster or ReasonWrongVersion when
	// the log says so in English, else ReasonServerDown.
	Reason messages.Reason
	// Line is the line of the log that tells why, LogTail the end of what was
	// written since the start (8 KiB at most); either may be empty.
	Line, LogTail string
	// Cause is what pg_ctl, or the controller, said.
	Cause error
	// locked: it was not tried, because PostgreSQL would refuse its own lock file.
	locked bool
}

// Error has the decisive line of the log, or else the end of it.
func (e *StartError) Error() string {
	text := "start PostgreSQL in " + e.DataDir + ": "
	if e.Running {
		text += "it runs but does not accept connections yet: "
	}
	why := e.Line
	if why == "" {
		why = clipFront(strings.ReplaceAll(strings.TrimSpace(e.LogTail), "\n", " | "), 600)
	}
	if why == "" {
		return text + e.Cause.Error()
	}
	return text + why
}

// Unwrap adds messages.ErrRefused where another start, or another copy, cannot
// help, and messages.ErrUnavailable where waiting may.
func (e *StartError) Unwrap() []error {
	errs := []error{e.Cause}
	switch {
	case e.Running:
		errs = append(errs, messages.ErrUnavailable)
	case e.Reason != messages.ReasonServerDown:
		errs = append(errs, messages.ErrRefused)
	}
	return errs
}

// StartReason is Reason, for callers that do not know this type.
func (e *StartError) StartReason() messages.Reason { return e.Reason }

// DataDamaged reports, for callers that do not know this type, whether the log says
// that the data is the cause; known is false when it says nothing of it.
func (e *StartError) DataDamaged() (damaged, known bool) {
	if e.Running || e.Reason != messages.ReasonServerDown {
		return false, false
	}
	if e.locked {
		return false, true
	}
	return damage(e.LogTail)
}

func clipFront(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}

// Start starts the server and returns when it accepts connections; the server
// goes on when ctx ends later. It fails with a *StartError, also where
// postmaster.pid names a live process of something else that PostgreSQL would take
// for itself (PG-4b). A server that runs already is messages.ErrBusy; a missing data
// directory is ErrNotFound.
//
// A controller of the operator's that reports success is not believed: it must
// come up in this data directory.
//
// When ctx ends during the wait, the server may or may not have been started:
// Stop puts an end to it either way.
func (s *Server) Start(ctx context.Context) error {
	dir := s.options.DataDir
	if _, err := VersionOf(dir); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	pid, who, err := postmasterOf(dir)
	switch {
	case err != nil:
		return fmt.Errorf("start PostgreSQL: %w", err)
	case who == ours:
		return fmt.Errorf("start PostgreSQL in %s: %w: it runs already, as process %d", dir, messages.ErrBusy, pid)
	case who == strangers && s.locksOut(pid):
		return &StartError{
			DataDir: dir, Reason: messages.ReasonServerDown, locked: true,
			Cause: fmt.Errorf("postmaster.pid names process %d, which is alive and of PostgreSQL's user, but not PostgreSQL in this directory; "+
				"remove the file if you are sure", pid),
		}
	}
	uid, err := s.uid()
	if err != nil {
		return fmt.Errorf("start PostgreSQL in %s: %w", dir, err)
	}
	logs := serverLogs{dataDir: dir, logFile: s.options.LogFile, uid: uid}
	logs.mark(time.Now())
	if s.control != nil {
		err = s.startBy(ctx)
	} else {
		_, err = s.programs.output(ctx, "pg_ctl", s.startArgs()...)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("start PostgreSQL in %s: %w", dir, err)
	}
	return s.startError(logs, err)
}

// locksOut tells whether PostgreSQL would refuse to start because of a stranger in its
// lock file, as CreateLockFile in miscinit.c has it: one of its own user, which the
// owner of the data directory is, unless it is whom pg_ctl was started by. A host's
// reset leaves the number to anyone, and whoever is not heeded must not keep it down.
func (s *Server) locksOut(pid int) bool {
	if s.control == nil && pid == os.Getpid() {
		return false
	}
	process, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	if err != nil {
		return false // it ended meanwhile
	}
	dir, err := os.Stat(s.options.DataDir)
	return err == nil && ownerOf(process) == ownerOf(dir)
}

// startArgs always has -l: without it the server inherits pg_ctl's output, and
// who reads that waits for the server's end.
func (s *Server) startArgs() []string {
	args := []string{"start", "-s", "-w", "-D", s.options.DataDir, "-l", s.options.LogFile, "-t", seconds(s.options.StartTimeout)}
	if more := elsewhere(s.options.DataDir, s.options.ConfigFile); len(more) > 0 {
		for i, a := range more {
			// pg_ctl hands -o to a shell.
			more[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		args = append(args, "-o", strings.Join(more, " "))
	}
	return args
}

func (s *Server) uid() (int, error) {
	uid, _, err := LookupUser(s.options.User)
	return uid, err
}

func (s *Server) startError(logs serverLogs, cause error) error {
	_, who, err := postmasterOf(s.options.DataDir)
	if err != nil {
		cause = errors.Join(cause, err)
	}
	e := &StartError{DataDir: s.options.DataDir, Running: who == ours, LogTail: logs.tail(), Cause: cause}
	e.Reason, e.Line = explain(e.LogTail)
	if e.Running {
		e.Reason, e.Line = messages.ReasonServerDown, ""
	}
	return e
}
