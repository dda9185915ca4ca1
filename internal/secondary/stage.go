package secondary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// stage clones the received snapshot as the coming live tree, mounts it aside and
// makes a standby's data directory of it. PostgreSQL still serves on the old one.
func (s *Service) stage(ctx context.Context) (resync.Event, error) {
	m, err := s.manifest(ctx)
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	if ok, err := s.walKept(ctx, m); err != nil || !ok {
		return s.stale(m, err)
	}
	l, err := s.before(ctx)
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	if err := s.vacateOld(ctx, l); err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	if err := s.removeNext(ctx); err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	sites := s.sites(m, l)
	if err := s.build(ctx, m, l, sites); err != nil {
		return "", fmt.Errorf("stage snapshot %s: %w", m.ID, err)
	}
	if err := s.prepare(ctx, m, l, sites); err != nil {
		return "", fmt.Errorf("stage snapshot %s: %w", m.ID, err)
	}
	if err := s.aim(ctx, sites); err != nil {
		return "", fmt.Errorf("stage snapshot %s: %w", m.ID, err)
	}
	if err := s.strangers(l); err != nil {
		return "", fmt.Errorf("stage snapshot %s: %w", m.ID, err)
	}
	// Once more, right before the old copy is stopped: staging took time (I-7, I-8).
	if ok, err := s.walKept(ctx, m); err != nil || !ok {
		return s.stale(m, err)
	}
	s.later(func(n *resync.Journal) { n.Stales = 0 })
	return resync.EventStaged, nil
}

// mostStales is how often another pass is made at once because the WAL since the last
// one is gone; each costs the primary a checkpoint (I-9).
const mostStales = 2

// stale asks for another pass. Where the primary drops the WAL of each one, further
// ones are no way out (I-12): that is a failure, with the pauses and the end of one.
func (s *Service) stale(m *messages.Manifest, err error) (resync.Event, error) {
	if err != nil {
		return "", err
	}
	j := s.journal()
	j.Stales++
	s.later(func(n *resync.Journal) { n.Stales = j.Stales })
	if j.Stales <= mostStales {
		return resync.EventStale, nil
	}
	return "", advised(fmt.Errorf("stage: slot %s does not keep the WAL since snapshot %s, nor did it for the copies before (%d in a row)", j.Slot, m.ID, j.Stales),
		"raise max_slot_wal_keep_size on the primary above what it writes during a last pass and the staging of the copy")
}

// walKept proves that the primary keeps the WAL since the snapshot's start for
// our slot (I-8), and that it is still the same cluster.
func (s *Service) walKept(ctx context.Context, m *messages.Manifest) (bool, error) {
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return false, fmt.Errorf("check WAL on the primary: %w", err)
	}
	if err := s.gates(ctx, f); err != nil {
		return false, err
	}
	if f.Identity.SystemID != m.SystemID || !f.Identity.Timeline.Contains(m.Timeline.Current, m.StopLSN) {
		return false, fmt.Errorf("snapshot %s: timeline %s at %s is not in the history of %s, which is on timeline %s",
			m.ID, m.Timeline.Current, m.StopLSN, f.Node, f.Identity.Timeline.Current)
	}
	for _, slot := range f.Slots {
		if slot.Name == s.journal().Slot && slot.Keeps(m.StartLSN, f.WALSegmentSize) {
			return true, nil
		}
	}
	s.log.Warn().Str("slot", s.journal().Slot).Stringer("start_lsn", m.StartLSN).Msg("the slot does not keep the WAL since the snapshot; another pass is made")
	return false, nil
}

// site is where one dataset of the copy will be mounted, and is mounted aside.
type site struct {
	name          messages.RelName
	final, staged string // "" for one that is not mounted
}

// sites settles the mount points: configured, as the live tree has it, or as the
// publisher has it relative to its root.
func (s *Service) sites(m *messages.Manifest, l live) []site {
	root, _ := m.Dataset("")
	base := s.cfg.Mountpoint
	if base == "" {
		base = l.mountpoint("")
	}
	if base == "" {
		base = root.Mountpoint
	}
	var out []site
	for i, d := range sortedDatasets(m) {
		st := site{name: d.Name, staged: filepath.Join(s.cfg.StageDir, fmt.Sprintf("%d", i))}
		switch {
		case d.Name == "":
			st.final = base
		case s.cfg.Mountpoints[d.Name] != "":
			st.final = s.cfg.Mountpoints[d.Name]
		case l.mountpoint(d.Name) != "":
			st.final = l.mountpoint(d.Name)
		case !filepath.IsAbs(d.Mountpoint) || d.Kind == messages.KindOther:
			st.staged = ""
		default:
			st.final = rebase(d.Mountpoint, root.Mountpoint, base)
		}
		out = append(out, st)
	}
	return out
}

// rebase moves path from below one directory to below another; a path elsewhere
// stays.
func rebase(path, from, to string) string {
	rel, err := filepath.Rel(from, path)
	if err != nil || !filepath.IsLocal(rel) {
		return path
	}
	return filepath.Join(to, rel)
}

func sortedDatasets(m *messages.Manifest) []messages.ManifestDataset {
	out := slices.Clone(m.Datasets)
	slices.SortFunc(out, func(a, b messages.ManifestDataset) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}

// build makes the datasets: clones of what travelled, new ones for what did not.
func (s *Service) build(ctx context.Context, m *messages.Manifest, l live, sites []site) error {
	j := s.journal()
	packed, err := messages.PackProperty(m)
	if err != nil {
		return err
	}
	for _, st := range sites {
		d, _ := m.Dataset(st.name)
		props, err := s.carried(ctx, l, st.name)
		if err != nil {
			return err
		}
		confine(props)
		maps.Copy(props, map[string]string{
			"canmount": "noauto", "mountpoint": "none", "readonly": "off",
			messages.PropCluster: string(s.cfg.Cluster), messages.PropResync: string(j.ID), messages.PropID: string(m.ID),
		})
		if st.staged != "" {
			props["mountpoint"], props[messages.PropMountpoint] = st.staged, st.final
		}
		if st.name == "" {
			props[messages.PropManifest] = packed
			if j.HandOver {
				props[messages.PropSeeded] = string(j.ID)
			}
		}
		target := s.cfg.next().Child(st.name)
		if d.Travels {
			source := s.cfg.Lineage.Child(j.Branch).Child(st.name).Snapshot(m.ID.ShortName())
			err = s.zfs.Clone(ctx, source, target, props)
		} else {
			err = s.zfs.Create(ctx, target, newProperties(props, d))
		}
		if err != nil {
			return err
		}
		if st.staged == "" {
			continue
		}
		if err := s.mountStaged(ctx, target, st.name); err != nil {
			return err
		}
	}
	return nil
}

// mountStaged: what was received raw can be read only when the operator of this node
// has loaded its key. Nothing is lost until then: the next resync goes on here.
func (s *Service) mountStaged(ctx context.Context, target messages.Dataset, name messages.RelName) error {
	err := s.zfs.Mount(ctx, target)
	if errors.Is(err, messages.ErrKeys) {
		root := s.cfg.Lineage.Child(s.journal().Branch).Child(name)
		return incurable(err, fmt.Sprintf("zfs load-key '%s' (with -L file://… where its keylocation is the publisher's), the same for every encryption root below it, then trigger a resync", root))
	}
	return err
}

// carried are the properties that the operator gave to the dataset it replaces.
func (s *Service) carried(ctx context.Context, l live, name messages.RelName) (map[string]string, error) {
	for _, d := range l.tree {
		if rel, _ := d.Name.Rel(l.tree[0].Name); rel == name {
			return s.zfs.LocalProperties(ctx, d.Name)
		}
	}
	return map[string]string{}, nil
}

// newProperties gives a dataset that did not travel the publisher's tuning, where
// nothing local says otherwise.
func newProperties(props map[string]string, d messages.ManifestDataset) map[string]string {
	if _, ok := props["recordsize"]; !ok && d.RecordSize != 0 {
		props["recordsize"] = fmt.Sprintf("%d", d.RecordSize)
	}
	if _, ok := props["compression"]; !ok && d.Compression != "" {
		props["compression"] = d.Compression
	}
	return props
}

// prepare turns the copy into a standby's data directory.
func (s *Service) prepare(ctx context.Context, m *messages.Manifest, l live, sites []site) error {
	setup, err := s.setup(ctx, m, sites)
	if err != nil {
		return err
	}
	if setup.KeepFrom, err = s.keepFrom(ctx, m, l); err != nil {
		return err
	}
	if setup.KeepFrom != "" {
		setup.KeepFiles = s.cfg.KeepFiles
	}
	if err := s.pg.Prepare(ctx, setup); err != nil {
		return err
	}
	if err := s.loggable(ctx, l, setup, sites); err != nil {
		return err
	}
	return s.parameters(ctx, m, setup)
}

// keepFrom is a directory that can be read now and has this node's own files.
func (s *Service) keepFrom(ctx context.Context, m *messages.Manifest, l live) (string, error) {
	if l.keptIn != "" {
		return l.keptIn, nil
	}
	if l.manifest == nil {
		l.manifest = m // a copy that is not of our making: the publisher's layout is the best guess
	}
	l, err := s.described(ctx, l)
	if dir := l.dataDir(nil); err == nil && dir != "" && mountedAt(l, dir) {
		return dir, nil
	}
	return "", err
}

func (s *Service) setup(ctx context.Context, m *messages.Manifest, sites []site) (messages.StandbySetup, error) {
	byName := map[messages.RelName]site{}
	for _, st := range sites {
		byName[st.name] = st
	}
	final := func(p messages.Place) string { return filepath.Join(byName[p.Dataset].final, p.Path) }
	staged := func(p messages.Place) string { return filepath.Join(byName[p.Dataset].staged, p.Path) }
	uid, gid, err := s.pg.Owner()
	if err != nil {
		return messages.StandbySetup{}, err
	}
	conninfo, err := s.conninfo(ctx)
	if err != nil {
		return messages.StandbySetup{}, err
	}
	dd, wd := m.Layout.DataDir, m.Layout.WALDir
	out := messages.StandbySetup{
		DataDir: staged(dd), FinalDataDir: final(dd), SystemID: m.SystemID, Timeline: m.Timeline.Current,
		BackupLabel: m.BackupLabel.Data, PrimaryConninfo: conninfo, SlotName: s.journal().Slot,
		Settings: s.cfg.Settings, Tablespaces: map[uint32]string{}, TablespacesStaged: map[uint32]string{}, UID: uid, GID: gid,
	}
	if m.TablespaceMap != nil {
		out.TablespaceMap = m.TablespaceMap.Data
	}
	if wd.Dataset != dd.Dataset || wd.Link {
		out.WALDir, out.WALStaged, out.WALLink = final(wd), staged(wd), wd.Link
	}
	if d, ok := m.Dataset(wd.Dataset); ok {
		out.EmptyWAL = !d.Travels
	}
	for _, t := range m.Layout.Tablespaces {
		out.Tablespaces[t.OID] = final(t.Place)
		out.TablespacesStaged[t.OID] = staged(t.Place)
	}
	if s.journal().HandOver {
		out.SlotName = "" // the slot only bridges the time until the asker has one
		return out, s.wanted(out.FinalDataDir)
	}
	return out, nil
}

// conninfo is primary_conninfo: the lease says where the primary is, unless the
// configuration does.
func (s *Service) conninfo(ctx context.Context) (string, error) {
	extra := s.cfg.PrimaryConninfo
	if hasHost(extra) {
		return extra, nil
	}
	lease, _, err := s.primary.Lease(ctx)
	if err != nil {
		return "", fmt.Errorf("find the primary's address: %w", err)
	}
	return strings.TrimSpace(fmt.Sprintf("%s application_name=%s %s", address(lease), s.cfg.Node, extra)), nil
}

func address(l messages.Lease) string { return fmt.Sprintf("host=%s port=%d", l.Host, l.Port) }

// hasHost reports whether the operator says himself where the primary is.
func hasHost(conninfo string) bool {
	for f := range strings.FieldsSeq(conninfo) {
		if k, _, _ := strings.Cut(f, "="); k == "host" || k == "hostaddr" {
			return true
		}
	}
	return false
}

// removeNext destroys what an earlier try prepared or left behind. It carries our
// mark, and nothing ever started on it that was proven.
func (s *Service) removeNext(ctx context.Context) error {
	if err := s.unmountTree(ctx, s.cfg.next()); err != nil {
		return err
	}
	return s.destroyOrKeep(ctx, s.cfg.next())
}

// aim unmounts the prepared copy and gives it its final mount points, so that the
// switch has only to rename and mount. canmount=noauto keeps it from being mounted
// before that.
func (s *Service) aim(ctx context.Context, sites []site) error {
	if err := s.unmountTree(ctx, s.cfg.next()); err != nil {
		return err
	}
	for _, st := range sites {
		if st.staged == "" {
			continue
		}
		if err := s.zfs.SetProperties(ctx, s.cfg.next().Child(st.name), map[string]string{"mountpoint": st.final}); err != nil {
			return err
		}
	}
	return nil
}

// unmountTree unmounts children before parents; a tree that is not there is done.
func (s *Service) unmountTree(ctx context.Context, root messages.Dataset) error {
	tree, err := s.zfs.List(ctx, root)
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.unmountAll(ctx, tree)
}

func (s *Service) unmountAll(ctx context.Context, tree []messages.DatasetInfo) error {
	mounted := slices.DeleteFunc(slices.Clone(tree), func(d messages.DatasetInfo) bool { return !d.Mounted })
	// By mount point, not by name: a WAL dataset may be mounted inside another's.
	slices.SortFunc(mounted, func(a, b messages.DatasetInfo) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
	for _, d := range mounted {
		if err := s.zfs.Unmount(ctx, d.Name); err != nil {
			return err
		}
	}
	return nil
}
