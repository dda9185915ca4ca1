package secondary

import (
	"context"
	"strings"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// reclone finds out whether the last pass will do as it is, and has its WAL
// reserved: nothing moves then. Only a first attempt of a resync that no operator
// asked for tries it; who asks, or lags behind, wants the present state, and where
// it did not succeed an increment will.
func (s *Service) reclone(ctx context.Context, f *messages.PrimaryFacts, branches []plan.Branch, own map[messages.RelName]messages.History) (*messages.Manifest, string) {
	j := s.journal()
	if s.reserver == nil || j.Trigger || j.Full || j.Attempts > 0 || len(j.Passes) > 0 || j.Reason == messages.ReasonLagging {
		return nil, ""
	}
	m := s.lastPass(ctx, branches)
	if m == nil || s.matches(ctx, m) != nil {
		return nil, ""
	}
	pp, err := plan.Pass(m, f.History, branches, plan.Options{Current: j.Branch, NewBranch: newBranch(j), Live: own})
	if err != nil {
		return nil, ""
	}
	if ok, why := plan.Reclone(m, pp, f); !ok {
		s.log.Info().Str("snapshot", string(m.ID)).Str("why", why).Msg("the last pass will not do without an increment")
		return nil, ""
	}
	slot, err := s.reserver.SlotAt(ctx, j.ID, m.Timeline.Current, m.StartLSN)
	if err != nil || !slot.Keeps(m.StartLSN, f.WALSegmentSize) {
		s.log.Info().Err(err).Str("snapshot", string(m.ID)).Msg("the WAL since the last pass cannot be reserved; an increment is made")
		return nil, ""
	}
	s.log.Info().Str("snapshot", string(m.ID)).Stringer("start_lsn", m.StartLSN).Msg("the last pass will do: nothing has to move")
	return m, slot.Name
}

func newBranch(j resync.Journal) messages.RelName {
	return plan.DefaultBranch + "-" + messages.RelName(j.ID)
}

// lastPass is of the newest snapshot that the lineage was completed to, nil when
// there is none.
func (s *Service) lastPass(ctx context.Context, branches []plan.Branch) *messages.Manifest {
	var newest *messages.Manifest
	for _, b := range branches {
		props, err := s.zfs.SnapshotProperties(ctx, s.cfg.Lineage.Child(b.Name), messages.PropState, messages.PropManifest)
		if err != nil {
			s.log.Debug().Err(err).Msg("passes not listed")
			return nil
		}
		for name, p := range props {
			m := &messages.Manifest{}
			if p[messages.PropState] != messages.StateComplete || messages.UnpackProperty(p[messages.PropManifest], m) != nil ||
				!strings.HasSuffix(string(name), "@"+m.ID.ShortName()) {
				continue
			}
			if newest == nil || m.CreatedAt.After(newest.CreatedAt) {
				newest = m
			}
		}
	}
	return newest
}
