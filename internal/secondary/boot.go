package secondary

import (
	"context"
	"slices"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// A boot in the middle of a switch mounts what has canmount=on, which is the
// previous copy under whatever name it has by then, and a unit may start
// PostgreSQL on it. What follows undoes that; it is only needed when the phase was
// begun by an earlier run of the sidecar, and costs no down time otherwise.

// freeOld takes the previous copy out of the way: off its mount points, with no
// server on it. What was promoted while it was mounted is kept.
func (s *Service) freeOld(ctx context.Context) error {
	l, err := s.readTree(ctx, s.cfg.old())
	if err != nil || !slices.ContainsFunc(l.tree, func(d messages.DatasetInfo) bool { return d.Mounted }) {
		return err
	}
	dir, srv, err := s.server(ctx, l)
	if err != nil {
		return err
	}
	if srv != nil {
		stopped, err := s.stopStray(ctx, dir, srv)
		if err != nil {
			return err
		}
		if err := s.keepStray(ctx, l, srv, stopped); err != nil {
			return err
		}
	}
	return s.unmountAll(ctx, l.tree)
}

// stopStray stops a server that was started on the previous copy although a
// switch is on its way: the copy has another name by now and cannot stay so.
func (s *Service) stopStray(ctx context.Context, dir string, srv Server) (stopped bool, err error) {
	running, err := srv.Running(ctx)
	if err != nil || !running {
		return false, err
	}
	promoted, err := s.recheck(ctx, srv)
	if err != nil {
		return false, err
	}
	if promoted {
		if err := s.markStray(ctx); err != nil {
			return false, err
		}
	}
	s.log.Warn().Str("dir", dir).Msg("PostgreSQL was started on the previous copy during a switch, by a boot perhaps; it is stopped")
	err = s.note(ctx, func(n *resync.Journal) {
		n.Diverged = n.Diverged || promoted
		if n.DownSince.IsZero() {
			n.DownSince = s.now().UTC()
		}
	})
	if err != nil {
		return false, err
	}
	return true, srv.Stop(ctx, false)
}

// keepStray looks into a previous copy once nothing runs on it: it may have been promoted
// and have ended before we came, or in the moment of the stop.
func (s *Service) keepStray(ctx context.Context, l live, srv Server, stopped bool) error {
	marked, known := l.tree[0].Marks[messages.PropDiverged] != "", s.journal().Diverged
	left, certain := marked, false
	if !marked && !known {
		left, certain = s.leftSince(ctx, l, srv)
	}
	if !marked && (known || left) {
		if err := s.markStray(ctx); err != nil {
			return err
		}
	}
	if known || !left {
		return nil
	}
	return s.noteDiverged(ctx, certain && !stopped)
}

// leftSince reports whether a copy on which nothing runs has left recovery, or may have,
// since it was stopped as a standby, and whether that is certain. Nothing but its
// pg_control knows; that of one that was handed over and never started is the publisher's.
func (s *Service) leftSince(ctx context.Context, l live, srv Server) (left, certain bool) {
	if state, err := s.handed(ctx, l, srv); err == nil && state == handedUnstarted {
		return false, true
	}
	if left, certain = s.mayHaveLeft(ctx, srv); left {
		s.log.Warn().Str("dataset", string(l.tree[0].Name)).
			Msg("the previous copy was promoted during a switch, as far as anybody knows; it will be kept: it may hold what the publisher does not have")
	}
	return left, certain
}

// mayHaveLeft is leftRecovery's for a copy that is kept in doubt, and whether there is none.
func (s *Service) mayHaveLeft(ctx context.Context, srv Server) (left, certain bool) {
	left, err := s.leftRecovery(ctx, srv)
	if err != nil {
		s.log.Warn().Err(err).Msg("pg_control of the old copy cannot be read; the copy will be kept")
	}
	return left || err != nil, err == nil
}

// noteDiverged: a revert takes the mark away, and the journal is what the copy is kept by
// the next time. What somebody promoted and stopped the revert does not start, for it
// would be a second primary.
func (s *Service) noteDiverged(ctx context.Context, theirs bool) error {
	return s.note(ctx, func(n *resync.Journal) {
		n.Diverged = true
		if theirs {
			n.DownSince, n.TakenBack = time.Time{}, true
		}
	})
}

// markStray: the copy has its name already, and the mark is what it is kept by.
func (s *Service) markStray(ctx context.Context) error {
	return s.zfs.SetProperties(ctx, s.cfg.old(), map[string]string{messages.PropDiverged: s.now().UTC().Format(time.RFC3339)})
}

// settleAgain puts the new copy in place once more after a boot.
func (s *Service) settleAgain(ctx context.Context) error {
	if !s.resumed {
		return nil
	}
	if err := s.freeOld(ctx); err != nil {
		return err
	}
	return s.settle(ctx)
}
