package secondary

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// A seed is a resync for one who starts PostgreSQL himself: an HA manager, a script.
// It is tried once, so that he can go on to another method, and it ends where he
// takes over: the copy is in place and nothing is started. The previous copy and
// the slot stay until the new one streams (docs/adr/0029-seeds-are-handed-over.md).

// asker is who waits for a copy. The journal does not know him: after a restart he
// has to ask again.
type asker struct {
	at      time.Time
	dataDir string
}

// askerPatience is how long an asker may be silent before he is taken for gone.
const askerPatience = 30 * time.Second

// handOver begins a seed, or tells the one who began it how it goes.
func (s *Service) handOver(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if r.Resync != "" {
		return s.howItGoes(ctx, r)
	}
	if s.cfg.AutoResync || s.cfg.Diagnosis.Restart != plan.RestartNever {
		return nil, incurable(fmt.Errorf("hand over a copy on node %s: %w: this sidecar would start or replace PostgreSQL by itself as well", s.cfg.Node, messages.ErrRefused),
			"set PGRESYNC_AUTO_RESYNC=false and PGRESYNC_RESTART=never where somebody else starts PostgreSQL")
	}
	if err := s.beginSeed(ctx, r); err != nil {
		return nil, err
	}
	s.wake()
	j := s.journal()
	reply := s.reply("node %s: resync %s begins; ask again for it within %s", s.cfg.Node, j.ID, askerPatience)
	reply.Resync = j.ID
	return reply, nil
}

func (s *Service) beginSeed(ctx context.Context, r messages.OperatorRequest) error {
	if j := s.journal(); !resting(j.Phase) {
		return fmt.Errorf("hand over a copy on node %s: %w: resync %s is %s", s.cfg.Node, messages.ErrBusy, j.ID, j.Phase)
	}
	s.heard(r.DataDir)
	return s.begin(ctx, func(n *resync.Journal) {
		n.Reason, n.Trigger, n.HandOver, n.Full, n.By, n.Evidence = messages.ReasonRequested, true, true, r.Full, r.By, r.Reason
	})
}

func (s *Service) heard(dataDir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asker = asker{s.now(), dataDir}
}

// howItGoes answers the asker, and keeps his copy coming.
func (s *Service) howItGoes(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	j := s.journal()
	if j.ID != r.Resync || !j.HandOver {
		return nil, fmt.Errorf("hand over resync %s of node %s: %w: the present one is %s", r.Resync, s.cfg.Node, messages.ErrNotFound, j.ID)
	}
	s.heard(r.DataDir)
	if resting(j.Phase) && j.Error != "" {
		return nil, advised(fmt.Errorf("resync %s of node %s: %w: %s", j.ID, s.cfg.Node, messages.ErrRefused, j.Error), j.Remedy)
	}
	if j.Phase == messages.PhaseIdle {
		if err := s.inPlace(ctx, j.ID); err != nil {
			return nil, err
		}
	}
	st := s.status()
	st.Phase = j.Phase // what is told is what was looked at: idle says that the copy is in place
	reply := s.reply("node %s: resync %s is %s", s.cfg.Node, j.ID, j.Phase)
	reply.Resync, reply.Status = j.ID, &st
	return reply, nil
}

// inPlace makes sure that the live copy is the seed's: who is told so starts PostgreSQL
// on whatever is there.
func (s *Service) inPlace(ctx context.Context, id messages.ResyncID) error {
	l, err := s.readLive(ctx)
	if err != nil {
		return fmt.Errorf("look for the copy of resync %s of node %s: %w: %w", id, s.cfg.Node, messages.ErrUnavailable, err)
	}
	if !l.seeded || l.resync != id {
		return advised(fmt.Errorf("resync %s of node %s: %w: it ended without a copy in %s", id, s.cfg.Node, messages.ErrRefused, s.cfg.Dataset), "ask for a seed again")
	}
	return nil
}

// asked makes sure that somebody waits for a copy that is handed over: one who gave
// up may be copying in another way by now, into the dataset that would be renamed.
func (s *Service) asked() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.j.HandOver || s.now().Sub(s.asker.at) <= askerPatience {
		return nil
	}
	return incurable(fmt.Errorf("%w: who asked for the copy is gone", messages.ErrRefused), "ask for a seed again")
}

// wanted makes sure that the asker will find the copy where he looks for it.
func (s *Service) wanted(dir string) error {
	s.mu.Lock()
	want := s.asker.dataDir
	s.mu.Unlock()
	if want == "" || filepath.Clean(want) == dir {
		return nil
	}
	return incurable(fmt.Errorf("%w: the data directory of the copy would be %s, asked for is %s", messages.ErrRefused, dir, want),
		"make both the same, by PGRESYNC_MOUNTPOINT for instance")
}

func stillRuns(dir string) error {
	return incurable(fmt.Errorf("PostgreSQL runs in %s: %w: who starts it has to stop it first", dir, messages.ErrRefused), "stop it, then ask for a seed again")
}

// stoppedByAsker looks before anything is moved what is looked at again before the
// switch.
func (s *Service) stoppedByAsker(ctx context.Context) error {
	if !s.journal().HandOver {
		return nil
	}
	l, err := s.readLive(ctx)
	if err != nil || !l.exists() {
		return err
	}
	dir, srv, err := s.server(ctx, l)
	if err != nil || srv == nil {
		return err
	}
	if running, err := srv.Running(ctx); err != nil || !running {
		return err
	}
	return stillRuns(dir)
}

// attend is watch's for a seed: it is tried once, and proven when somebody has
// started PostgreSQL on it.
func (s *Service) attend(ctx context.Context, j resync.Journal) (bool, error) {
	switch {
	case j.HandOver && j.Phase != messages.PhaseIdle:
		return true, s.fireIf(ctx, j, resync.EventCancelled, nil)
	case j.Proven || j.Phase != messages.PhaseIdle:
		return false, nil
	}
	l, err := s.readLive(ctx)
	if err != nil || !l.seeded || l.manifest == nil || !s.taken(ctx, l.manifest) {
		return false, err
	}
	return true, s.fireIf(ctx, j, resync.EventProven, func(n *resync.Journal) {
		if n.ID != l.resync {
			// Another one was tried since, and failed before it touched the live copy.
			n.ID, n.Passes = l.resync, nil
		}
		n.Error, n.Remedy = "", ""
	})
}

// taken reports whether the copy streams past its snapshot, by whatever slot, or
// was promoted past it.
func (s *Service) taken(ctx context.Context, m *messages.Manifest) bool {
	id, err := s.db.Identity(ctx)
	if err != nil || s.facts == nil {
		return false
	}
	if id.Role == messages.RolePrimary {
		return id.SystemID == m.SystemID && id.LSN >= m.StopLSN && id.Timeline.Current > m.Timeline.Current &&
			id.Timeline.Contains(m.Timeline.Current, m.StopLSN)
	}
	r, err := s.db.Receiver(ctx)
	if err != nil {
		return false
	}
	ok, missing := plan.Proven(plan.Want{StopLSN: m.StopLSN, SystemID: m.SystemID, Timeline: m.Timeline}, &id, r, s.facts)
	if !ok {
		s.log.Debug().Str("missing", missing).Msg("the copy that was handed over is not proven yet")
	}
	return ok
}

// releaseBridge drops the slot that held the WAL until the asker's own connection
// did.
func (s *Service) releaseBridge(ctx context.Context, id messages.ResyncID) error {
	if s.released == id {
		return nil
	}
	if _, err := s.primary.Slot(ctx, id, messages.SlotRelease); err != nil {
		return fmt.Errorf("release the slot of resync %s: %w", id, err)
	}
	s.released = id
	return nil
}

// handedState is what became of a copy that was handed over, as its pg_control has it.
type handedState int

const (
	handedNot       handedState = iota // it is no such copy
	handedUnstarted                    // pg_control is still the one that came with it
	handedShort                        // it was started, and did not get past its snapshot
	handedStreamed                     // it got past its snapshot in recovery
	handedPromoted                     // it left recovery
)

func (s *Service) handed(ctx context.Context, l live, srv Server) (handedState, error) {
	if !l.seeded || l.manifest == nil || srv == nil {
		return handedNot, nil
	}
	cd, err := srv.ControlData(ctx)
	if errors.Is(err, messages.ErrNotFound) {
		return handedShort, nil // somebody emptied it
	}
	if err != nil {
		return handedNot, err
	}
	m := l.manifest
	recovers := cd.State == "in archive recovery" || cd.State == "shut down in recovery"
	switch {
	case recovers && max(cd.CheckpointLSN, cd.MinRecoveryLSN) >= m.StopLSN:
		return handedStreamed, nil
	case recovers:
		return handedShort, nil
	case cd.Timeline != m.Timeline.Current || cd.CheckpointLSN > m.StopLSN || cd.MinRecoveryLSN != 0:
		return handedPromoted, nil
	}
	// Until its first checkpoint a promoted server's pg_control tells no timeline of its
	// own. A publisher's has no minimum recovery point, for a bracket begins with a
	// checkpoint of a primary (xlog.c, CreateCheckPoint); and a promotion removes what
	// Prepare had written.
	is, err := srv.IsStandby(ctx)
	switch {
	case err != nil:
		return handedNot, err
	case is:
		return handedUnstarted, nil
	}
	return handedPromoted, nil
}

// retireHanded takes a copy that was handed over and never seen streaming out of the
// way while there is still an older one: the older one is what to go back to, unless
// pg_control says that this one came further. gone tells that the copy is. Its
// datasets are unmounted, and state was read before that.
func (s *Service) retireHanded(ctx context.Context, l live, state handedState) (gone bool, err error) {
	if !l.seeded {
		return false, nil
	}
	old, err := s.readTree(ctx, s.cfg.old())
	if err != nil || !old.exists() {
		return false, err
	}
	aside := s.cfg.kept("replaced", s.journal().ID)
	switch state {
	case handedStreamed:
		return false, s.retireOld(ctx, old)
	case handedUnstarted, handedShort:
		// It is ours, and what is in it is in the lineage as well.
		err := s.zfs.DestroyDataset(ctx, s.cfg.Dataset)
		if err == nil {
			s.log.Info().Str("dataset", string(s.cfg.Dataset)).Msg("a copy that was handed over and never streamed is removed; the one before it stays")
		}
		if !errors.Is(err, messages.ErrNotOurs) {
			return err == nil, err
		}
	case handedPromoted:
		aside = s.cfg.kept("diverged", s.journal().ID)
	case handedNot:
	}
	if state != handedPromoted {
		err := s.zfs.SetProperties(ctx, s.cfg.Dataset, map[string]string{messages.PropReplaced: s.now().UTC().Format(time.RFC3339)})
		if err != nil {
			return false, err
		}
	}
	return true, s.zfs.Rename(ctx, s.cfg.Dataset, aside)
}
