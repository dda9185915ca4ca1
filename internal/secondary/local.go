package secondary

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/pgresync/pgresync/messages"
)

// What is this node's own and not the primary's, properties of datasets, mount
// points and kept files, outlives a live copy that is given up early: in a tree of
// small datasets of the same shape, which the new copy is made after.

// local is that tree.
func (c Config) local() messages.Dataset { return c.Dataset + ".pgresync-local" }

// saveLocal makes the tree anew, unless the live copy has been unmounted since it was
// made: what is in it cannot be read any more.
func (s *Service) saveLocal(ctx context.Context, l live) error {
	l, err := s.described(ctx, l)
	if err != nil {
		return err
	}
	if l.manifest == nil {
		if l.manifest, err = s.manifest(ctx); err != nil {
			return err
		}
	}
	dir := l.dataDir(nil)
	readable := dir != "" && mountedAt(l, dir)
	saved, err := s.readTree(ctx, s.cfg.local())
	if err != nil || saved.exists() && !readable {
		return err
	}
	if err := s.removeLocal(ctx); err != nil {
		return err
	}
	for _, d := range l.tree {
		rel, _ := d.Name.Rel(s.cfg.Dataset)
		props, err := s.zfs.LocalProperties(ctx, d.Name)
		if err != nil {
			return err
		}
		own := map[string]string{
			"canmount": "noauto", "mountpoint": "none", "readonly": "off", messages.PropCluster: string(s.cfg.Cluster), messages.PropMountpoint: d.Mountpoint,
		}
		// A reservation would take the very room that is wanted.
		for k, v := range props {
			if _, set := own[k]; !set && k != "reservation" && k != "refreservation" {
				own[k] = v
			}
		}
		if rel == "" {
			own["mountpoint"] = s.localDir()
		}
		if err := s.zfs.Create(ctx, s.cfg.local().Child(rel), own); err != nil {
			return fmt.Errorf("keep what is local: %w", err)
		}
	}
	if !readable || len(s.cfg.KeepFiles) == 0 {
		return nil
	}
	if err := s.zfs.Mount(ctx, s.cfg.local()); err != nil {
		return fmt.Errorf("keep what is local: %w", err)
	}
	if err := s.pg.Keep(ctx, dir, s.localDir(), s.cfg.KeepFiles); err != nil {
		return fmt.Errorf("keep what is local: %w", err)
	}
	return nil
}

func (s *Service) localDir() string { return filepath.Join(s.cfg.StageDir, "local") }

// before is the live tree, or what was saved of one that was given up.
func (s *Service) before(ctx context.Context) (live, error) {
	l, err := s.readLive(ctx)
	if err != nil || l.exists() {
		return l, err
	}
	saved, err := s.readTree(ctx, s.cfg.local())
	if err != nil || !saved.exists() {
		return l, err
	}
	if err := s.zfs.Mount(ctx, s.cfg.local()); err != nil {
		return l, err
	}
	for i, d := range saved.tree {
		saved.tree[i].Mountpoint, saved.tree[i].Mounted = d.Marks[messages.PropMountpoint], false
	}
	saved.keptIn = s.localDir()
	return saved, nil
}

func (s *Service) removeLocal(ctx context.Context) error {
	if err := s.unmountTree(ctx, s.cfg.local()); err != nil {
		return err
	}
	return s.destroyOrKeep(ctx, s.cfg.local())
}

// disposeLocal: as long as there is no live copy it is the only trace of what is
// this node's own.
func (s *Service) disposeLocal(ctx context.Context) error {
	l, err := s.readLive(ctx)
	if err != nil || !l.exists() || !s.journal().Proven {
		return err
	}
	if err := s.removeLocal(ctx); err != nil {
		return fmt.Errorf("remove what was kept of an earlier copy: %w", err)
	}
	return nil
}
