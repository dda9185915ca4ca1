package secondary

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// live is the present live tree.
type live struct {
	tree []messages.DatasetInfo // nil when there is none
	// manifest is of the snapshot it was cloned from, nil when it is not ours.
	manifest *messages.Manifest
	resync   messages.ResyncID
	// keptIn has the local files of one that is gone; its tree is then only a shape.
	keptIn string
	// seeded says that PostgreSQL on it is somebody else's to start.
	seeded bool
}

func (l live) exists() bool { return len(l.tree) > 0 }

// ours reports whether we made it.
func (l live) ours() bool { return l.exists() && l.tree[0].Marks[messages.PropCluster] != "" }

// mountpoint of a dataset of the tree, "" when it is not there or has none.
func (l live) mountpoint(name messages.RelName) string {
	for _, d := range l.tree {
		if rel, ok := d.Name.Rel(l.tree[0].Name); ok && rel == name && filepath.IsAbs(d.Mountpoint) {
			return d.Mountpoint
		}
	}
	return ""
}

func (s *Service) readLive(ctx context.Context) (live, error) { return s.readTree(ctx, s.cfg.Dataset) }

// readTree reads another tree in the form of a live one.
func (s *Service) readTree(ctx context.Context, root messages.Dataset) (live, error) {
	tree, err := s.zfs.List(ctx, root)
	if errors.Is(err, messages.ErrNotFound) {
		return live{}, nil
	}
	if err != nil {
		return live{}, fmt.Errorf("read dataset %s: %w", root, err)
	}
	l := live{tree: tree, resync: messages.ResyncID(tree[0].Marks[messages.PropResync])}
	l.seeded = l.resync != "" && tree[0].Marks[messages.PropSeeded] == string(l.resync)
	if packed := tree[0].Marks[messages.PropManifest]; packed != "" {
		m := &messages.Manifest{}
		if err := messages.UnpackProperty(packed, m); err != nil {
			return live{}, fmt.Errorf("manifest on %s: %w", root, err)
		}
		l.manifest = m
	}
	return l, nil
}

// described adds the manifest of the newest snapshot that was published from the
// tree, where it does not come from a snapshot itself: it says how the tree is laid
// out. It costs a command, so that not every reading does it.
func (s *Service) described(ctx context.Context, l live) (live, error) {
	if !l.exists() || l.manifest != nil {
		return l, nil
	}
	var err error
	l.manifest, err = s.ownManifest(ctx, l.tree[0].Name)
	return l, err
}

// dataDir is where PostgreSQL's data directory is in the live tree: as the
// manifest of its own snapshot says, else as the publisher has it, else the top.
func (l live) dataDir(f *messages.PrimaryFacts) string {
	place := messages.Place{Path: "."}
	switch {
	case l.manifest != nil:
		place = l.manifest.Layout.DataDir
	case f != nil && f.Snapshot != nil:
		place = f.Snapshot.Layout.DataDir
	}
	mp := l.mountpoint(place.Dataset)
	if mp == "" {
		return ""
	}
	return filepath.Join(mp, place.Path)
}

// gather asks both sides. What does not answer is left out: the diagnosis knows
// what follows from that.
func (s *Service) gather(ctx context.Context) plan.Facts {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	f := plan.Facts{Cluster: s.cfg.Cluster, Node: s.cfg.Node}
	var err error
	if f.Primary, err = s.primary.Facts(ctx); err != nil {
		f.Primary, f.PrimaryErr = nil, err.Error()
	}
	s.facts = f.Primary
	l, err := s.readLive(ctx)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			s.log.Warn().Err(err).Msg("read live dataset")
		}
		f.Server, f.ServerErr = plan.ServerUnknown, err.Error()
		f.DataPresent = true // not known to be gone
		return f
	}
	guided := l.resync != "" && !l.seeded // slot and connection are of our making
	if guided {
		f.SlotName = messages.SlotName(s.cfg.Node, l.resync)
	}
	s.gatherDatabase(ctx, &f)
	f.Misdirected = guided && s.misdirected(ctx, f)
	s.gatherServer(ctx, l, &f)
	f.Streamed = s.streamed
	if f.Local != nil {
		s.starts = starts{}
	}
	f.StartFailures, f.StartFailureClass = s.starts.failures, s.starts.class
	s.compare(ctx, &f)
	s.forward(ctx, &f)
	s.setLocal(f.Local, behind(f))
	return f
}

// behind is how much WAL of the publisher's this standby has yet to replay; nil when
// one side is unknown or they are on different timelines, whose positions are not
// comparable.
func behind(f plan.Facts) *uint64 {
	if f.Primary == nil || f.Receiver == nil || !f.Receiver.InRecovery || f.Receiver.ReplayLSN == 0 ||
		f.Receiver.Timeline != f.Primary.Identity.Timeline.Current {
		return nil
	}
	n := f.Primary.Identity.LSN.Sub(f.Receiver.ReplayLSN)
	return &n
}

func (s *Service) gatherDatabase(ctx context.Context, f *plan.Facts) {
	id, err := s.db.Identity(ctx)
	if err != nil {
		return
	}
	f.Local = &id
	r, err := s.db.Receiver(ctx)
	if err != nil {
		return
	}
	f.Receiver = &r
	if r.Streaming {
		s.streamed = r.Timeline
	}
}

// gatherServer looks at the data directory where PostgreSQL itself does not answer.
func (s *Service) gatherServer(ctx context.Context, l live, f *plan.Facts) {
	f.Server = plan.ServerStopped
	if !l.exists() {
		return
	}
	if f.Local != nil {
		f.Server, f.DataPresent = plan.ServerRunning, true
		return
	}
	l, err := s.described(ctx, l)
	if err != nil {
		f.Server, f.ServerErr, f.DataPresent = plan.ServerUnknown, err.Error(), true
		return
	}
	dir := l.dataDir(f.Primary)
	if dir == "" || !mountedAt(l, dir) {
		f.DataPresent = true // there, but not mounted: not known to be gone
		return
	}
	srv, err := s.pg.Server(dir)
	if err != nil {
		f.Server, f.ServerErr = plan.ServerUnknown, err.Error()
		return
	}
	if running, err := srv.Running(ctx); err != nil {
		f.Server, f.ServerErr = plan.ServerUnknown, err.Error()
	} else if running {
		f.Server = plan.ServerRunning
	}
	cd, err := srv.ControlData(ctx)
	f.DataPresent = !errors.Is(err, messages.ErrNotFound)
	if err == nil {
		f.Control = &cd
	}
	if f.StandbySignal, err = srv.IsStandby(ctx); err != nil {
		s.log.Debug().Err(err).Msg("look for standby.signal")
	}
}

// mountedAt reports whether the dataset of the tree that holds dir is mounted. Where
// it is not, dir shows what lies below its mount point, and that is no copy.
func mountedAt(l live, dir string) bool {
	d, ok := l.holder(dir)
	return ok && d.Mounted
}

// holder is the dataset of the tree that dir is in when all are mounted: the one with
// the innermost mount point. Of two with the same one, what is mounted shows.
func (l live) holder(dir string) (best messages.DatasetInfo, found bool) {
	for _, d := range l.tree {
		rel, err := filepath.Rel(d.Mountpoint, dir)
		if !filepath.IsAbs(d.Mountpoint) || d.CanMount == "off" || err != nil || !filepath.IsLocal(rel) {
			continue
		}
		deeper, same := len(d.Mountpoint)-len(best.Mountpoint), d.Mountpoint == best.Mountpoint
		if !found || deeper > 0 || same && d.Mounted {
			best, found = d, true
		}
	}
	return best, found
}

// cure does what is cheaper than a resync: a standby that ended is started, a slot
// that vanished while the WAL is still there is made again.
func (s *Service) cure(ctx context.Context, d plan.Diagnosis) {
	switch d.Cure {
	case plan.CureStart:
		// Who paused the node may have stopped PostgreSQL the hard way.
		if s.pausedNow() == nil {
			s.restart(ctx)
		}
		// Another start waits as long as the first one did.
		s.previous.SuspectSince = s.now()
	case plan.CureReserveSlot:
		s.reserveAgain(ctx)
	case plan.CureFollow:
		s.follow(ctx)
	case plan.CureNone:
	}
}

func (s *Service) reserveAgain(ctx context.Context) {
	l, err := s.readLive(ctx)
	if err != nil || l.resync == "" {
		return
	}
	slot, err := s.primary.Slot(ctx, l.resync, messages.SlotReserve)
	if err != nil {
		s.log.Warn().Err(err).Msg("make the slot again")
		return
	}
	s.log.Info().Str("slot", slot.Name).Stringer("restart_lsn", slot.RestartLSN).Msg("slot was missing and is made again")
}
