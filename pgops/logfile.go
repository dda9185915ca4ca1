package pgops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// Loggable makes sure, before anything is down for it, that Start's log file can be
// written by PostgreSQL's user, as whom pg_ctl opens it. Where it is missing and that
// user may not make it, root does, but only in directories that are root's alone: in
// others' a link could lead it elsewhere. It fails with messages.ErrPermission. A
// Control's server logs by itself.
func (s *Server) Loggable(ctx context.Context) error {
	if s.control != nil {
		return nil
	}
	if err := s.loggable(ctx, s.options.LogFile); err != nil {
		return fmt.Errorf("log file %s for what PostgreSQL prints: %w", s.options.LogFile, err)
	}
	return nil
}

func (s *Server) loggable(ctx context.Context, path string) error {
	dir := filepath.Dir(path) + "/." // which only who may pass through it reaches
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%w: it is a directory", messages.ErrRefused)
	case err != nil && !missing && !errors.Is(err, fs.ErrPermission):
		return err
	}
	if missing {
		if may, err := s.tests(ctx, "-w", dir); err != nil || may {
			return err
		}
		reaches, err := s.tests(ctx, "-d", dir)
		if err != nil {
			return err
		}
		if reaches && os.Geteuid() == 0 && rootsAlone(filepath.Dir(path)) {
			return s.makeLog(path)
		}
	} else if may, err := s.tests(ctx, "-w", path); err != nil || may {
		return err
	}
	uid, err := s.uid()
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: PostgreSQL's user (id %d) can neither write nor make it: make it, give it to that user, and let the user pass through the directories above; "+
		"or have another file configured", messages.ErrPermission, uid)
}

// tests asks test(1), as PostgreSQL's user: what the kernel says counts lists of
// access and read-only file systems in.
func (s *Server) tests(ctx context.Context, condition, path string) (bool, error) {
	program, err := command.LookPath("test")
	if err != nil {
		return false, err
	}
	err = command.Command{Path: program, Args: []string{condition, path}, Dir: "/", Credential: s.programs.credential}.Run(ctx)
	if e, ok := errors.AsType[*command.Error](err); ok && e.ExitCode == 1 && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// rootsAlone reports whether nobody but root can change where a directory's path
// leads.
func rootsAlone(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || ownerOf(info) != 0 || info.Mode().Perm()&0o022 != 0 {
			return false
		}
		if dir == "/" {
			return true
		}
	}
}

func (s *Server) makeLog(path string) error {
	uid, gid, err := LookupUser(s.options.User)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	return create(root, filepath.Base(path), fileMode, nil, uid, gid)
}
