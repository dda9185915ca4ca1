package secondary

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// stop ends PostgreSQL on the old copy. From here on the standby is down.
func (s *Service) stop(ctx context.Context) (resync.Event, error) {
	l, err := s.readLive(ctx)
	if err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	if err := s.asked(); err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	if !l.exists() || l.resync == s.journal().ID {
		return resync.EventStopped, nil // nothing before us, or switched already
	}
	if err := s.stillSure(ctx); err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	l, dir, srv, err := s.beforeStop(ctx, l)
	if err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	if srv == nil {
		return resync.EventStopped, s.noteUnseen(ctx, l, dir)
	}
	running, err := srv.Running(ctx)
	if err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	if !running {
		if err := s.noteStopped(ctx, l, srv); err != nil {
			return "", fmt.Errorf("stop: %w", err)
		}
		return resync.EventStopped, nil
	}
	if s.journal().HandOver {
		return "", stillRuns(dir)
	}
	// A hook may take its time: what follows must be true right before the stop.
	s.hook(ctx, HookBeforeStop, s.journal())
	return s.stopRunning(ctx, l, srv)
}

// beforeStop is server's for a copy that is about to be replaced. One that may have been
// unmounted by an earlier run of the sidecar, whoever had stopped it, is mounted again,
// to be looked into.
func (s *Service) beforeStop(ctx context.Context, l live) (live, string, Server, error) {
	dir, srv, err := s.server(ctx, l)
	if err != nil || srv != nil || !s.resumed && s.journal().DownSince.IsZero() {
		return l, dir, srv, err
	}
	if err := s.remount(ctx, l); err != nil {
		s.log.Warn().Err(err).Str("dataset", string(s.cfg.Dataset)).Msg("the old copy cannot be mounted again")
		return l, dir, nil, nil
	}
	if l, err = s.readLive(ctx); err != nil {
		return l, dir, nil, err
	}
	dir, srv, err = s.server(ctx, l)
	return l, dir, srv, err
}

// stopRunning asks the publisher first, which may take as long as a promotion: whether
// there was one is asked last, and once more when nobody can promote it any more.
func (s *Service) stopRunning(ctx context.Context, l live, srv Server) (resync.Event, error) {
	why, err := s.keptFor(ctx, l, false)
	if err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	promoted, err := s.recheck(ctx, srv)
	if err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	// Journaled before the deed, so that a revert knows to start it again.
	if err := s.note(ctx, func(n *resync.Journal) {
		n.DownSince, n.Diverged = s.now().UTC(), n.Diverged || why != "" || promoted
	}); err != nil {
		return "", err
	}
	if err := srv.Stop(ctx, false); err != nil {
		return "", err
	}
	if promoted {
		return resync.EventStopped, nil
	}
	left, err := s.leftRecovery(ctx, srv)
	if err != nil {
		return "", fmt.Errorf("stop: find out whether it was promoted meanwhile: %w", err)
	}
	if left {
		return "", promotedError(fmt.Errorf("stop: PostgreSQL on %s left recovery when it was about to be stopped: %w", s.cfg.Node, messages.ErrRefused),
			"find out who promoted it; if its data may be set aside: "+s.triggerCommand())
	}
	return resync.EventStopped, nil
}

// keptFor says why the old copy is to be kept for the operator: it holds, or may hold,
// what exists nowhere else. "" when it does not.
func (s *Service) keptFor(ctx context.Context, l live, promoted bool) (why string, err error) {
	switch {
	case s.journal().Diverged:
		return "it is known to have diverged", nil
	case promoted:
		why = "PostgreSQL had left recovery"
	default:
		why, err = s.strayed(ctx, l)
	}
	if why != "" {
		s.log.Warn().Str("evidence", why).Msg("the old copy will be kept: it may hold what the publisher does not have")
	}
	return why, err
}

// noteStopped keeps the data of a server that was stopped after it had left
// recovery or the publisher's history, or may have: it may hold writes that exist
// nowhere else.
func (s *Service) noteStopped(ctx context.Context, l live, srv Server) error {
	if state, err := s.handed(ctx, l, srv); err == nil && state == handedUnstarted {
		return nil
	}
	left, certain := s.mayHaveLeft(ctx, srv)
	if left && certain && !s.journal().DownSince.IsZero() {
		// It ran when an earlier run of the sidecar was about to stop it, and may have been
		// promoted right then: it is judged as if it ran still (I-1).
		if _, err := s.recheck(ctx, srv); err != nil {
			return err
		}
	}
	why, err := s.keptFor(ctx, l, left)
	if err != nil || why == "" {
		return err
	}
	return s.note(ctx, func(n *resync.Journal) { n.Diverged = true })
}

// noteUnseen keeps a copy that nobody can look into. One that is not ours and has no
// place for a data directory is no copy, and is kept by another mark.
func (s *Service) noteUnseen(ctx context.Context, l live, dir string) error {
	if s.journal().Diverged || dir == "" && !l.ours() {
		return nil
	}
	s.log.Warn().Str("dataset", string(s.cfg.Dataset)).Msg("the old copy is not mounted and will be kept: it may hold what the publisher does not have")
	return s.note(ctx, func(n *resync.Journal) { n.Diverged = true })
}

// leftRecovery reports, from pg_control alone, whether the data may hold writes that
// exist nowhere else: it was not a standby's to the last.
func (s *Service) leftRecovery(ctx context.Context, srv Server) (bool, error) {
	id, err := s.silent(ctx, srv)
	return id.Role == messages.RolePrimary, err
}

// silent is the identity of a server that does not answer, from pg_control. How far it
// wrote is not in there: past every fork, as far as anybody knows.
func (s *Service) silent(ctx context.Context, srv Server) (messages.Identity, error) {
	cd, err := srv.ControlData(ctx)
	if errors.Is(err, messages.ErrNotFound) {
		return messages.Identity{Role: messages.RoleDown}, nil
	}
	id := messages.Identity{SystemID: cd.SystemID, Role: messages.RoleStandby, Timeline: messages.TimelineHistory{Current: cd.Timeline}, LSN: ^messages.LSN(0)}
	if cd.State != "shut down in recovery" && cd.State != "in archive recovery" {
		id.Role = messages.RolePrimary
	}
	return id, err
}

// recheck asks once more, right before the stop, whether the node was promoted
// meanwhile and, if so, whether it may be replaced (I-1): what was true when the
// operator asked is long ago after a restart. A server that is still starting does not
// answer, and may be a primary all the same.
func (s *Service) recheck(ctx context.Context, srv Server) (promoted bool, err error) {
	id, err := s.db.Identity(ctx)
	if err != nil {
		if id, err = s.silent(ctx, srv); err != nil {
			return false, err
		}
	}
	if id.Role != messages.RolePrimary {
		return false, nil
	}
	j := s.journal()
	if !j.Consent {
		return false, promotedError(fmt.Errorf("PostgreSQL on %s left recovery while it was resynced: %w", s.cfg.Node, messages.ErrRefused), "find out who promoted it")
	}
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return false, fmt.Errorf("PostgreSQL on %s is out of recovery; find out whether it may be replaced: %w", s.cfg.Node, err)
	}
	if err := s.replaceable(id, f, j); err != nil {
		return false, err
	}
	return true, nil
}

// stillSure repeats, for a stop that an earlier run of the sidecar was about to make,
// what staging had proven right before it (I-7, I-8).
func (s *Service) stillSure(ctx context.Context) error {
	if !s.resumed || s.journal().Phase != messages.PhaseStopping {
		return nil
	}
	m, err := s.manifest(ctx)
	if err != nil {
		return err
	}
	ok, err := s.walKept(ctx, m)
	if err == nil && !ok {
		err = fmt.Errorf("the slot %s does not keep the WAL since snapshot %s any more", s.journal().Slot, m.ID)
	}
	return err
}

// server is the one of the live tree's data directory, nil when there is none or it
// is not mounted.
func (s *Service) server(ctx context.Context, l live) (string, Server, error) {
	l, err := s.described(ctx, l)
	if err != nil {
		return "", nil, err
	}
	if l.manifest == nil {
		// A copy that is not of our making: the publisher's layout is the best guess, and
		// the running pass knows it even when the publisher is away.
		l.manifest, _ = s.manifest(ctx)
	}
	var f *messages.PrimaryFacts
	if l.manifest == nil {
		f, _ = s.primary.Facts(ctx)
	}
	dir := l.dataDir(f)
	if dir == "" || !mountedAt(l, dir) {
		return dir, nil, nil
	}
	srv, err := s.pg.Server(dir)
	return dir, srv, err
}

// switchOver puts the new tree in the old one's place. Every step looks first at
// what is there, so that it can be repeated after a crash at any point.
func (s *Service) switchOver(ctx context.Context) (resync.Event, error) {
	l, err := s.readLive(ctx)
	if err != nil {
		return "", fmt.Errorf("switch: %w", err)
	}
	id := s.journal().ID
	if l.exists() && l.resync != id {
		if err := s.setAside(ctx, l); err != nil {
			return "", fmt.Errorf("switch: set %s aside: %w", s.cfg.Dataset, err)
		}
		l = live{}
	}
	if s.resumed {
		if err := s.freeOld(ctx); err != nil {
			return "", fmt.Errorf("switch: %w", err)
		}
	}
	if !l.exists() {
		if err := s.zfs.Rename(ctx, s.cfg.next(), s.cfg.Dataset); err != nil {
			return "", fmt.Errorf("switch: %w", err)
		}
	}
	if err := s.settle(ctx); err != nil {
		return "", fmt.Errorf("switch: %w", err)
	}
	if s.journal().HandOver {
		// There is no proof to wait for: a boot must find the new copy from now on.
		if err := s.settleBoot(ctx); err != nil {
			return "", fmt.Errorf("switch: %w", err)
		}
		return resync.EventHandedOver, nil
	}
	return resync.EventSwitched, nil
}

// setAside unmounts the live tree and renames it. It fails without a change when
// PostgreSQL runs on it (I-1) or a mount is busy.
func (s *Service) setAside(ctx context.Context, l live) error {
	dir, srv, err := s.server(ctx, l)
	if err != nil {
		return err
	}
	if srv != nil {
		running, err := srv.Running(ctx)
		if err != nil {
			return err
		}
		if running {
			return byOthers(dir, srv)
		}
		if s.resumed && !s.journal().Diverged {
			if left, certain := s.leftSince(ctx, l, srv); left {
				if err := s.noteDiverged(ctx, certain); err != nil {
					return err
				}
			}
		}
	}
	state, err := s.handed(ctx, l, srv)
	if err != nil {
		s.log.Warn().Err(err).Msg("pg_control of a copy that was handed over cannot be read; the copy will be kept")
	}
	if err := s.markAside(ctx, l); err != nil {
		return err
	}
	if err := s.unmountAll(ctx, l.tree); err != nil {
		return s.named(l, err)
	}
	if gone, err := s.retireHanded(ctx, l, state); err != nil || gone {
		return err
	}
	return s.zfs.Rename(ctx, s.cfg.Dataset, s.cfg.old())
}

// markAside says on the dataset what is to become of it once the new copy is
// proven: diverged and foreign data are kept for the operator.
func (s *Service) markAside(ctx context.Context, l live) error {
	now := s.now().UTC().Format(time.RFC3339)
	j := s.journal()
	switch {
	case j.Diverged || j.Reason == messages.ReasonDiverged || j.Reason == messages.ReasonPromoted:
		return s.zfs.SetProperties(ctx, s.cfg.Dataset, map[string]string{messages.PropDiverged: now})
	case !l.ours():
		return s.zfs.SetProperties(ctx, s.cfg.Dataset, map[string]string{messages.PropReplaced: now})
	}
	return nil
}

// settle mounts the new live tree, outer datasets first.
func (s *Service) settle(ctx context.Context) error {
	tree, err := s.zfs.List(ctx, s.cfg.Dataset)
	if err != nil {
		return err
	}
	slices.SortFunc(tree, func(a, b messages.DatasetInfo) int { return strings.Compare(a.Mountpoint, b.Mountpoint) })
	for _, d := range tree {
		if d.Mounted || !filepath.IsAbs(d.Marks[messages.PropMountpoint]) {
			continue
		}
		if err := s.zfs.Mount(ctx, d.Name); err != nil {
			return err
		}
	}
	return nil
}

// keepFromBoot sees to it that a boot does not mount the copy that was set aside.
func (s *Service) keepFromBoot(ctx context.Context) error {
	old, err := s.readTree(ctx, s.cfg.old())
	if err != nil {
		return err
	}
	for _, d := range old.tree {
		if d.CanMount != "on" {
			continue
		}
		if err := s.zfs.SetProperties(ctx, d.Name, map[string]string{messages.PropCanMount: "on", "canmount": "noauto"}); err != nil {
			return err
		}
	}
	return nil
}

// settleBoot sees to it that a boot mounts the new tree and not the one set aside.
// PostgreSQL runs again by now: this costs no down time.
func (s *Service) settleBoot(ctx context.Context) error {
	if err := s.keepFromBoot(ctx); err != nil {
		return err
	}
	tree, err := s.zfs.List(ctx, s.cfg.Dataset)
	if err != nil {
		return err
	}
	for _, d := range tree {
		if d.CanMount == "on" || !filepath.IsAbs(d.Marks[messages.PropMountpoint]) {
			continue
		}
		if err := s.zfs.SetProperties(ctx, d.Name, map[string]string{"canmount": "on"}); err != nil {
			return err
		}
	}
	return nil
}
