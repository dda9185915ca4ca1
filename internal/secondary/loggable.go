package secondary

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/pgresync/pgresync/messages"
)

// loggable: a start that cannot open its log file would be found out when the standby
// is down, and the way back would fail by the same file.
func (s *Service) loggable(ctx context.Context, l live, setup messages.StandbySetup, sites []site) error {
	if s.journal().HandOver {
		return nil // somebody else starts it
	}
	coming, err := s.pg.Server(besides(setup.FinalDataDir, sites))
	if err != nil {
		return err
	}
	servers := []Server{coming}
	present, err := s.wayBack(ctx, l)
	if err != nil {
		return err
	}
	if present != nil {
		servers = append(servers, present)
	}
	for _, srv := range servers {
		err := srv.Loggable(ctx)
		if errors.Is(err, messages.ErrPermission) || errors.Is(err, messages.ErrRefused) {
			return incurable(err, "set PGRESYNC_PG_LOG_FILE to a file that PostgreSQL's user may write, then: "+s.triggerCommand())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// besides is a path that has now beside it what the final data directory will have: of
// the copy itself, where it is mounted aside, unless that is all data directory.
func besides(dataDir string, sites []site) string {
	dir, final, out := filepath.Dir(dataDir), "", dataDir
	for _, st := range sites {
		rel, err := filepath.Rel(st.final, dir)
		if st.final == "" || err != nil || !filepath.IsLocal(rel) || len(st.final) <= len(final) {
			continue
		}
		final, out = st.final, filepath.Join(st.staged, rel, filepath.Base(dataDir))
	}
	return out
}

// wayBack is the server that a revert would start, nil where there is none: the copy
// was given up, is not mounted, or is empty.
func (s *Service) wayBack(ctx context.Context, l live) (Server, error) {
	if !l.exists() || l.keptIn != "" {
		return nil, nil
	}
	_, srv, err := s.server(ctx, l)
	if err != nil || srv == nil {
		return nil, err
	}
	if _, err := srv.ControlData(ctx); errors.Is(err, messages.ErrNotFound) {
		return nil, nil
	}
	return srv, nil
}
