package secondary

import (
	"context"
	"errors"

	"github.com/pgresync/pgresync/messages"
)

// loggable: a start that cannot open its log file would be found out when the standby
// is down, and the way back would fail by the same file.
func (s *Service) loggable(ctx context.Context, m *messages.Manifest, l live, setup messages.StandbySetup) error {
	if s.journal().HandOver {
		return nil // somebody else starts it
	}
	// Beside the data directory is in the copy itself, unless that is all data directory.
	dirs := []string{setup.DataDir}
	if m.Layout.DataDir.Path == "." {
		dirs[0] = setup.FinalDataDir
	}
	if l.exists() {
		dirs = append(dirs, setup.FinalDataDir)
	}
	for _, dir := range dirs {
		srv, err := s.pg.Server(dir)
		if err != nil {
			return err
		}
		err = srv.Loggable(ctx)
		if errors.Is(err, messages.ErrPermission) || errors.Is(err, messages.ErrRefused) {
			return incurable(err, "set PGRESYNC_PG_LOG_FILE to a file that PostgreSQL's user may write, then: "+s.triggerCommand())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
