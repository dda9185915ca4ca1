package pgops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// ServerOptions say how the server of one data directory is controlled.
type ServerOptions struct {
	// BinDir holds pg_ctl and pg_controldata; DataDir is PGDATA. Both are absolute.
	BinDir, DataDir string
	// User is the operating system user that PostgreSQL runs as, "" for the current
	// one. Another one needs root.
	User string
	// LogFile takes what the server writes before its own logging is set up. User
	// must be able to write it; outside of DataDir it survives a switch.
	LogFile string
	// StartTimeout bounds the wait for connections to be accepted, StopTimeout the
	// wait for the end; one minute each unless given.
	StartTimeout, StopTimeout time.Duration
	// ConfigFile is postgresql.conf where that does not lie in DataDir, as Debian has
	// it, else "".
	ConfigFile string
	// Control is who starts and stops it, if not pg_ctl; then LogFile is read only, and
	// ConfigFile is not used.
	Control Control
}

// Server controls the PostgreSQL of one data directory, by pg_ctl unless Control
// says otherwise. Safe for concurrent use, though two starts race as two pg_ctl
// do: one of them fails.
type Server struct {
	options  ServerOptions
	programs programs
	control  controller // nil for pg_ctl
}

// StopMode is how a server is shut down.
type StopMode string

// The modes (PostgreSQL 15, app-pg-ctl).
const (
	// StopFast disconnects clients and writes the shutdown checkpoint.
	StopFast StopMode = "fast"
	// StopImmediate ends at once; the next start recovers.
	StopImmediate StopMode = "immediate"
	// StopEscalate is StopFast and, when that takes longer than the time-out,
	// StopImmediate.
	StopEscalate StopMode = "escalate"
)

// NewServer checks the options; it touches nothing.
func NewServer(o ServerOptions) (*Server, error) {
	if o.StartTimeout <= 0 {
		o.StartTimeout = time.Minute
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = time.Minute
	}
	paths := map[string]string{"program directory": o.BinDir, "data directory": o.DataDir, "log file": o.LogFile}
	if o.ConfigFile != "" {
		paths["configuration file"] = o.ConfigFile
	}
	for what, path := range paths {
		// pg_ctl puts these into a shell command between double quotes.
		if !filepath.IsAbs(path) || strings.ContainsAny(path, "\"$`\\\n\x00") {
			return nil, fmt.Errorf("control PostgreSQL: %s %q: want an absolute path without \", $, `, \\ and line ends", what, path)
		}
	}
	s := &Server{options: o, programs: programs{dir: filepath.Clean(o.BinDir)}}
	if o.User != "" {
		credential, err := command.LookupCredential(o.User)
		if err != nil {
			return nil, fmt.Errorf("control PostgreSQL in %s: %w", o.DataDir, err)
		}
		s.programs.credential = credential
	}
	var err error
	s.control, err = o.Control.controller()
	return s, err
}

// Running reports whether a postmaster runs on the data directory: postmaster.pid
// names a live process that works in that very directory. A missing data
// directory is false. One that a controller says it runs, or will start again,
// counts as running, too.
func (s *Server) Running(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, who, err := postmasterOf(s.options.DataDir)
	if err != nil || who == ours {
		return who == ours, err
	}
	c, err := s.claimed(ctx)
	return c.runs, err
}

// Stop shuts the server down and waits until its processes are gone, so that the
// data directory can be unmounted. A server that does not run is no error.
func (s *Server) Stop(ctx context.Context, mode StopMode) error {
	if s.control != nil {
		if err := s.stopBy(ctx, mode); err != nil {
			return fmt.Errorf("stop PostgreSQL in %s by %s: %w", s.options.DataDir, s.control, err)
		}
		return nil
	}
	_, who, err := postmasterOf(s.options.DataDir)
	if err != nil || who != ours {
		return err
	}
	first := mode
	if mode == StopEscalate {
		first = StopFast
	}
	err = s.stop(ctx, first)
	if err != nil && mode == StopEscalate && ctx.Err() == nil {
		err = s.stop(ctx, StopImmediate)
	}
	if err != nil {
		return fmt.Errorf("stop PostgreSQL in %s: %w", s.options.DataDir, err)
	}
	return s.awaitEnd(ctx)
}

func (s *Server) stop(ctx context.Context, mode StopMode) error {
	_, err := s.programs.output(ctx, "pg_ctl", "stop", "-s", "-w", "-D", s.options.DataDir,
		"-m", string(mode), "-t", seconds(s.options.StopTimeout))
	if err == nil || ctx.Err() != nil {
		return err
	}
	// It may have ended by itself, which pg_ctl calls a failure.
	if _, who, again := postmasterOf(s.options.DataDir); again == nil && who != ours {
		return nil
	}
	return err
}

// awaitEnd waits for what pg_ctl does not: it is content when postmaster.pid is
// gone, which is a moment before the process is.
func (s *Server) awaitEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, fmt.Errorf("%w: a server process still works in %s", messages.ErrBusy, s.options.DataDir))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for lingering(s.options.DataDir) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("stop PostgreSQL: %w", context.Cause(ctx))
		}
	}
	return nil
}

// IsStandby reports whether a start would be one in recovery.
func (s *Server) IsStandby(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	info, err := os.Lstat(filepath.Join(s.options.DataDir, standbySignal))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

// ControlData reads pg_control. It wraps messages.ErrNotFound when there is no
// data directory, or none with a pg_control.
func (s *Server) ControlData(ctx context.Context) (messages.ControlData, error) {
	return s.programs.controlData(ctx, s.options.DataDir)
}

func (p programs) controlData(ctx context.Context, dataDir string) (messages.ControlData, error) {
	switch info, err := os.Stat(filepath.Join(dataDir, "global", "pg_control")); {
	case errors.Is(err, fs.ErrNotExist):
		return messages.ControlData{}, fmt.Errorf("read pg_control of %s: %w", dataDir, messages.ErrNotFound)
	case err == nil && !info.Mode().IsRegular(): // the program would wait at a FIFO
		return messages.ControlData{}, fmt.Errorf("read pg_control of %s: %w: it is not a regular file", dataDir, messages.ErrRefused)
	}
	out, err := p.output(ctx, "pg_controldata", "-D", dataDir)
	if err != nil {
		return messages.ControlData{}, fmt.Errorf("read pg_control: %w", err)
	}
	data, err := ParseControlData(out)
	if err != nil {
		return messages.ControlData{}, fmt.Errorf("read pg_control of %s: %w", dataDir, err)
	}
	return data, nil
}

// seconds rounds up: pg_ctl takes whole ones.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
