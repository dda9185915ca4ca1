package secondary

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// revert puts the previous copy back and starts PostgreSQL on it if it ran before
// (I-3). It looks at what is there, so that it can be repeated.
func (s *Service) revert(ctx context.Context) (resync.Event, error) {
	untouched, err := s.untouched(ctx)
	if err != nil {
		return "", fmt.Errorf("revert: %w", err)
	}
	if err := s.removeFailed(ctx); err != nil {
		return "", fmt.Errorf("revert: %w", err)
	}
	if err := s.bringBack(ctx); err != nil {
		return "", fmt.Errorf("revert: %w", err)
	}
	if err := s.startAgain(ctx); err != nil {
		return "", fmt.Errorf("revert: %w", err)
	}
	s.reverts = 0
	j := s.journal()
	// A slot nobody streams from would retain WAL (I-9); when the primary is away
	// now, the next successful resync drops it.
	if _, err := s.primary.Slot(ctx, j.ID, messages.SlotRelease); err != nil {
		s.log.Warn().Err(err).Str("slot", j.Slot).Msg("slot of the failed copy not released yet")
	}
	spent := false
	if !untouched {
		// Every switch that was taken back has cost down time: it counts like a new resync.
		j.Begin(s.now())
		spent = !j.Incurable && resync.OverBudget(j.Begun, s.now(), s.cfg.BudgetPerDay)
	}
	event := resync.EventReverted
	if j.Incurable || spent {
		event = resync.EventRevertedIncurable
	}
	s.later(func(n *resync.Journal) {
		n.Begun = j.Begun
		if spent {
			n.Remedy = fmt.Sprintf("%d switches were tried in 24 hours; find the cause, then: %s", s.cfg.BudgetPerDay, s.triggerCommand())
		}
		n.Slot, n.Passes, n.DownSince, n.DownMillis, n.TakenBack = "", nil, time.Time{}, 0, false
		// A standby that streams again is not taken down a second time for one trigger.
		n.Trigger = n.Trigger && untouched && !n.Incurable
	})
	return event, nil
}

// untouched reports whether nothing was stopped or moved: the publisher did not answer
// right before the stop, say. That is one failure more, and no switch. Otherwise it is
// journaled before anything is put back, for a revert that is begun again.
func (s *Service) untouched(ctx context.Context) (bool, error) {
	j := s.journal()
	if j.TakenBack {
		return false, nil
	}
	l, err := s.readLive(ctx)
	if err != nil {
		return false, err
	}
	if l.exists() && l.resync != j.ID && j.DownSince.IsZero() {
		return true, nil
	}
	return false, s.note(ctx, func(n *resync.Journal) { n.TakenBack = true })
}

// removeFailed takes the failed copy out of the way. It is kept as next until the
// following try, for the operator to look at.
func (s *Service) removeFailed(ctx context.Context) error {
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	if !l.exists() || l.resync != s.journal().ID {
		return nil
	}
	if l, err = s.seen(ctx, l); err != nil {
		return err
	}
	if dir := l.dataDir(nil); dir != "" && mountedAt(l, dir) {
		srv, err := s.pg.Server(dir)
		if err != nil {
			return err
		}
		if err := s.notPromoted(ctx, srv); err != nil {
			return err
		}
		if err := srv.Stop(ctx, true); err != nil {
			return err
		}
	}
	if err := s.unmountTree(ctx, s.cfg.Dataset); err != nil {
		return err
	}
	for _, d := range l.tree {
		if err := s.zfs.SetProperties(ctx, d.Name, map[string]string{"canmount": "noauto"}); err != nil {
			return err
		}
	}
	return s.zfs.Rename(ctx, s.cfg.Dataset, s.cfg.next())
}

// seen mounts a failed copy that a boot was to mount, and did not: PostgreSQL had been
// started on it, and only what is in it tells whether it was promoted since.
func (s *Service) seen(ctx context.Context, l live) (live, error) {
	if dir := l.dataDir(nil); dir == "" || mountedAt(l, dir) || l.tree[0].CanMount != "on" {
		return l, nil
	}
	if err := s.settle(ctx); err != nil {
		return l, err
	}
	return s.readLive(ctx)
}

// notPromoted refuses to take a copy away that was promoted since (I-1): it may
// hold writes that exist nowhere else.
func (s *Service) notPromoted(ctx context.Context, srv Server) error {
	m, err := s.manifest(ctx)
	if err != nil {
		return err
	}
	refused := s.promotedSince()
	if id, err := s.db.Identity(ctx); err == nil {
		if id.Role == messages.RolePrimary {
			return refused
		}
		return nil
	}
	// A promotion removes standby.signal before it lets anybody write, and its first
	// checkpoint, which pg_control shows, comes much later (xlog.c, StartupXLOG).
	is, err := srv.IsStandby(ctx)
	if err != nil {
		return err // not known: it stays, until it is
	}
	if !is {
		return refused
	}
	cd, err := srv.ControlData(ctx)
	if err != nil {
		return nil //nolint:nilerr // a copy without pg_control never was a primary
	}
	// The primary's pg_control came along with the copy and says "in production", too,
	// until the copy is started; its checkpoint is then not past the snapshot.
	left := strings.HasPrefix(cd.State, "in production") || cd.State == "shut down" || cd.State == "shutting down"
	if left && (cd.Timeline > m.Timeline.Current || cd.CheckpointLSN > m.StopLSN) {
		return refused
	}
	return nil
}

// promotedSince refuses to touch the new copy.
func (s *Service) promotedSince() error {
	return promotedError(fmt.Errorf("%s: %w: it was promoted since; it stays in place", s.cfg.Dataset, messages.ErrRefused),
		fmt.Sprintf("if it is to be the primary, start PostgreSQL on it; if not: %s (what it holds is set aside, the copy before it is %s)",
			s.triggerCommand(), s.cfg.old()))
}

// bringBack renames and mounts the previous copy, if there was one.
func (s *Service) bringBack(ctx context.Context) error {
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	if !l.exists() {
		old, err := s.readTree(ctx, s.cfg.old())
		if err != nil {
			return err
		}
		if !old.exists() || old.tree[0].Marks[messages.PropDiscarded] != "" {
			return nil // a seed: there was nothing before, or it is no whole copy any more
		}
		if err := s.freeOld(ctx); err != nil {
			return err
		}
		if err := s.zfs.Rename(ctx, s.cfg.old(), s.cfg.Dataset); err != nil {
			return err
		}
		if l, err = s.readLive(ctx); err != nil {
			return err
		}
	}
	return s.remount(ctx, l)
}

func (s *Service) remount(ctx context.Context, l live) error {
	for _, key := range []string{messages.PropDiverged, messages.PropReplaced} {
		if _, ok := l.tree[0].Marks[key]; !ok {
			continue
		}
		if err := s.zfs.InheritProperty(ctx, s.cfg.Dataset, key); err != nil {
			return err
		}
	}
	slices.SortFunc(l.tree, func(a, b messages.DatasetInfo) int { return strings.Compare(a.Mountpoint, b.Mountpoint) })
	for _, d := range l.tree {
		was, aside := d.Marks[messages.PropCanMount]
		if aside {
			if err := s.zfs.SetProperties(ctx, d.Name, map[string]string{"canmount": was}); err != nil {
				return err
			}
			if err := s.zfs.InheritProperty(ctx, d.Name, messages.PropCanMount); err != nil {
				return err
			}
		}
		if d.Mounted || d.CanMount == "off" || !strings.HasPrefix(d.Mountpoint, "/") {
			continue
		}
		if err := s.zfs.Mount(ctx, d.Name); err != nil {
			return err
		}
	}
	return nil
}

// startAgain starts the previous copy if it was we who stopped it.
func (s *Service) startAgain(ctx context.Context) error {
	if s.journal().DownSince.IsZero() {
		return nil
	}
	l, err := s.readLive(ctx)
	if err != nil || !l.exists() {
		return err
	}
	_, srv, err := s.server(ctx, l)
	if err != nil || srv == nil {
		return err
	}
	if err := s.awaitStop(ctx, srv); err != nil {
		return err
	}
	return startOnce(ctx, srv)
}

// awaitStop waits for the end of a server that is on its way down: a stop that
// failed may have been heard all the same, and a server that shuts down answers
// nobody. One that does not answer for another reason is left to itself.
func (s *Service) awaitStop(ctx context.Context, srv Server) error {
	const patience = 30
	for range patience {
		running, err := srv.Running(ctx)
		if err != nil || !running {
			return err
		}
		if _, err := s.db.Identity(ctx); err == nil {
			return nil
		}
		if err := s.pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}
