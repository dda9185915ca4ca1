package secondary

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// gates are checked before any data moves, and again before the switch (I-7).
func (s *Service) gates(ctx context.Context, f *messages.PrimaryFacts) error {
	return s.gatesOf(ctx, f, s.journal())
}

// gatesOf are those of the resync that j describes, or would.
func (s *Service) gatesOf(ctx context.Context, f *messages.PrimaryFacts, j resync.Journal) error {
	major, err := s.pg.Major(ctx)
	if err != nil {
		return err
	}
	if want := f.Identity.Version.Major(); major != want {
		return incurable(fmt.Errorf("PostgreSQL %d here, %d on %s: %w: a physical copy starts only under the same major version", major, want, f.Node, messages.ErrRefused),
			fmt.Sprintf("install PostgreSQL %d here, or point PGRESYNC_PG_BIN_DIR at it", want))
	}
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	if err := s.sameCluster(ctx, l, f); err != nil {
		return err
	}
	return s.mayReplace(ctx, f, j)
}

// sameCluster compares system identifiers with what is here: the live data
// directory, and the snapshot that the live copy was made from.
func (s *Service) sameCluster(ctx context.Context, l live, f *messages.PrimaryFacts) error {
	refuse := func(have messages.SystemID) error {
		return incurable(fmt.Errorf("system identifier is %s here and %s on %s: %w: it is another cluster", have, f.Identity.SystemID, f.Node, messages.ErrRefused),
			"check PGRESYNC_CLUSTER and PGRESYNC_DATASET of both nodes; nothing was touched")
	}
	if l.manifest != nil && l.manifest.SystemID != f.Identity.SystemID {
		return refuse(l.manifest.SystemID)
	}
	l, err := s.described(ctx, l)
	if err != nil {
		return err
	}
	dir := l.dataDir(f)
	if !l.exists() || dir == "" {
		return nil
	}
	if d, ok := l.holder(dir); !ok || !d.Mounted {
		return incurable(fmt.Errorf("dataset %s: %w: it is not mounted at %s, so that nobody can tell what would be replaced", cmp.Or(d.Name, l.tree[0].Name), messages.ErrRefused, dir),
			"mount it (zfs load-key first, if it is encrypted), or rename it if it may be set aside unseen; then: "+s.triggerCommand())
	}
	srv, err := s.pg.Server(dir)
	if err != nil {
		return err
	}
	cd, err := srv.ControlData(ctx)
	switch {
	case errors.Is(err, messages.ErrNotFound):
		return nil // no cluster there
	case err != nil && l.manifest != nil:
		return nil // damaged, yet known to be of this cluster by its manifest
	case err != nil:
		return advised(fmt.Errorf("read pg_control in %s: %w", dir, err),
			"which cluster it is of cannot be told; move the data directory away if it may be replaced")
	case cd.SystemID != f.Identity.SystemID:
		return refuse(cd.SystemID)
	}
	return nil
}

// mayReplace refuses to touch a node whose PostgreSQL is out of recovery (I-1),
// unless its branch is proven to be abandoned and its operator said so.
func (s *Service) mayReplace(ctx context.Context, f *messages.PrimaryFacts, j resync.Journal) error {
	id, err := s.db.Identity(ctx)
	if err != nil || id.Role != messages.RolePrimary {
		return nil //nolint:nilerr // a server that does not answer accepts no writes
	}
	return s.replaceable(id, f, j)
}

// replaceable is mayReplace's for a server that is known to be out of recovery.
func (s *Service) replaceable(id messages.Identity, f *messages.PrimaryFacts, j resync.Journal) error {
	if !j.Consent {
		return promotedError(fmt.Errorf("PostgreSQL on %s is out of recovery: %w", s.cfg.Node, messages.ErrRefused),
			fmt.Sprintf("if its data may be set aside: nats pub %s ''", messages.Subjects{Cluster: s.cfg.Cluster}.TriggerResync(string(s.cfg.Node))))
	}
	// An operator who names this node may also give up a promotion that nobody
	// followed; the policy alone may not (docs/adr/0007-consent-by-name.md).
	left := !f.Identity.Timeline.Contains(id.Timeline.Current, id.LSN)
	if !plan.Abandoned(id, f) && (!left || !j.Named()) {
		return promotedError(fmt.Errorf("timeline %s of %s against %s of %s: %w: it is not proven to be an abandoned branch", id.Timeline.Current, s.cfg.Node, f.Identity.Timeline.Current, f.Node, messages.ErrRefused),
			"find out which of the two nodes is the primary")
	}
	if f.Node == s.cfg.Node {
		return incurable(fmt.Errorf("node %s: %w: it is the publisher itself", s.cfg.Node, messages.ErrRefused), "resync a standby instead")
	}
	return nil
}

// matches checks a manifest against what the publisher said of itself.
func (s *Service) matches(ctx context.Context, m *messages.Manifest) error {
	if m.Cluster != s.cfg.Cluster {
		return fmt.Errorf("manifest %s: %w: it is of cluster %s", m.ID, messages.ErrBadDocument, m.Cluster)
	}
	major, err := s.pg.Major(ctx)
	if err != nil {
		return err
	}
	if m.PGVersion.Major() != major {
		return incurable(fmt.Errorf("manifest %s: %w: it is of PostgreSQL %s, here is %d", m.ID, messages.ErrRefused, m.PGVersion, major),
			"install the publisher's major version here")
	}
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	for _, d := range l.tree {
		name, _ := d.Name.Rel(s.cfg.Dataset)
		if _, ok := m.Dataset(name); !ok && name != "" {
			return incurable(fmt.Errorf("dataset %s: %w: the publisher has none of that name, and the switch would take it away", d.Name, messages.ErrRefused),
				"move it out of "+string(s.cfg.Dataset))
		}
	}
	return nil
}
