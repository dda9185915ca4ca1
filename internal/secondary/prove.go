package secondary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// start starts PostgreSQL on the new copy.
func (s *Service) start(ctx context.Context) (resync.Event, error) {
	if err := s.startNew(ctx); err != nil {
		return "", err
	}
	s.later(func(n *resync.Journal) {
		if !n.DownSince.IsZero() && n.DownMillis == 0 {
			n.DownMillis = s.now().Sub(n.DownSince).Milliseconds()
		}
	})
	return resync.EventStarted, nil
}

func (s *Service) startNew(ctx context.Context) error {
	if err := s.settleAgain(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	dir, srv, err := s.newServer(ctx)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := s.stillStandby(ctx, srv); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := startOnce(ctx, srv); err != nil {
		return startFailure(err)
	}
	if s.promoted(ctx) {
		// Somebody promoted it between a crash of ours and now: on a timeline of its own it
		// is a primary in earnest (I-1), and proving sees to it.
		return nil
	}
	return s.mustRecover(ctx, dir, srv)
}

// stillStandby refuses to start a copy that would come up out of recovery (I-4): we
// prepared it as a standby, so that it was promoted, and ended, since.
func (s *Service) stillStandby(ctx context.Context, srv Server) error {
	if running, err := srv.Running(ctx); err != nil || running {
		return err
	}
	is, err := srv.IsStandby(ctx)
	if err == nil && !is {
		return s.promotedSince()
	}
	return err
}

// startOnce does nothing when it runs already, after a crash of ours.
func startOnce(ctx context.Context, srv Server) error {
	if running, err := srv.Running(ctx); err != nil || running {
		return err
	}
	return srv.Start(ctx)
}

// startFailure recognises a start that a further copy would not mend (I-12).
func startFailure(err error) error {
	var known interface{ StartReason() messages.Reason }
	if errors.As(err, &known) && known.StartReason() == messages.ReasonSettingsTooLow {
		return incurable(err, "raise the parameter named above to at least the primary's value (PGRESYNC_POSTGRES_SETTINGS or the local configuration), then trigger a resync")
	}
	return err
}

// newServer is the new copy's, which must be in place and ours.
func (s *Service) newServer(ctx context.Context) (string, Server, error) {
	l, err := s.readLive(ctx)
	if err != nil {
		return "", nil, err
	}
	if l.resync != s.journal().ID {
		return "", nil, fmt.Errorf("dataset %s is not the copy of resync %s", s.cfg.Dataset, s.journal().ID)
	}
	dir := l.dataDir(nil)
	if dir == "" || !mountedAt(l, dir) {
		return "", nil, fmt.Errorf("dataset %s is not mounted", s.cfg.Dataset)
	}
	srv, err := s.pg.Server(dir)
	return dir, srv, err
}

// prove waits until the standby streams past the stop LSN, as both sides say.
func (s *Service) prove(ctx context.Context) (resync.Event, error) {
	m, err := s.manifest(ctx)
	if err != nil {
		return "", fmt.Errorf("prove: %w", err)
	}
	if s.resumed {
		// The node may have been reset since.
		if err := s.startNew(ctx); err != nil {
			return "", fmt.Errorf("prove: %w", err)
		}
	}
	if err := s.settleBoot(ctx); err != nil {
		return "", fmt.Errorf("prove: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProveTimeout)
	defer cancel()
	want := s.want(ctx, m)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for revived := false; ; {
		if s.promoted(ctx) {
			s.log.Warn().Msg("the new copy was promoted before its proof was complete; it has replayed past the snapshot")
			return resync.EventProven, nil
		}
		ok, missing := s.proven(ctx, want)
		if ok {
			return resync.EventProven, nil
		}
		// Once: a server that ends by itself would end again.
		if !revived && s.ended(ctx) {
			revived = true
			s.log.Warn().Str("resync", string(s.journal().ID)).Msg("PostgreSQL ended before its proof was complete; it is started again")
			if err := s.startNew(ctx); err != nil {
				return "", fmt.Errorf("prove: %w", err)
			}
		}
		if err := s.chase(ctx, m, &want); err != nil {
			return "", fmt.Errorf("prove that the standby streams: %w", err)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("prove that the standby streams within %s: %s", s.cfg.ProveTimeout, missing)
		case <-tick.C:
		}
	}
}

// ended reports whether the new copy's server is known to run no more.
func (s *Service) ended(ctx context.Context) bool {
	if _, err := s.db.Identity(ctx); err == nil {
		return false
	}
	_, srv, err := s.newServer(ctx)
	if err != nil {
		return false
	}
	running, err := srv.Running(ctx)
	return err == nil && !running
}

// promoted reports whether the new copy has left recovery by a promotion, which
// PostgreSQL allows past the end of the backup only: on a newer timeline that goes
// through the snapshot's stop LSN.
func (s *Service) promoted(ctx context.Context) bool {
	m, err := s.manifest(ctx)
	if err != nil {
		return false
	}
	id, err := s.db.Identity(ctx)
	return err == nil && id.Role == messages.RolePrimary && id.SystemID == m.SystemID && id.LSN >= m.StopLSN &&
		id.Timeline.Current > m.Timeline.Current && id.Timeline.Contains(m.Timeline.Current, m.StopLSN)
}

// want is what the proof asks for. Hosts that the operator gave are his business.
func (s *Service) want(ctx context.Context, m *messages.Manifest) plan.Want {
	w := plan.Want{StopLSN: m.StopLSN, SystemID: m.SystemID, Timeline: m.Timeline, SlotName: s.journal().Slot}
	if hasHost(s.cfg.PrimaryConninfo) {
		return w
	}
	if lease, _, err := s.primary.Lease(ctx); err == nil {
		w.PrimaryHosts, w.PrimaryPort = []string{lease.Host}, lease.Port
	}
	return w
}

func (s *Service) proven(ctx context.Context, want plan.Want) (bool, string) {
	id, err := s.db.Identity(ctx)
	if err != nil {
		return false, "PostgreSQL does not answer: " + err.Error()
	}
	r, err := s.db.Receiver(ctx)
	if err != nil {
		return false, "PostgreSQL does not answer: " + err.Error()
	}
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return false, "the publisher does not answer: " + err.Error()
	}
	s.setLocal(&id, nil)
	return plan.Proven(want, &id, r, f)
}
