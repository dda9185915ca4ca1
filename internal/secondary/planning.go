package secondary

import (
	"context"
	"fmt"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// plan chooses the snapshot of the next pass. When that pass is to be the last,
// the slot is reserved first, so that WAL is kept for the length of one short
// pass and not of the whole copy (I-8, I-9).
func (s *Service) plan(ctx context.Context) (resync.Event, error) {
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	if err := s.gates(ctx, f); err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	if err := s.stoppedByAsker(ctx); err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	branches, err := s.branches(ctx)
	if err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	own, err := s.ownHistories(ctx)
	if err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	if m := s.unfinished(ctx, f, branches, own); m != nil {
		s.log.Info().Str("snapshot", string(m.ID)).Msg("a pass that was cut is finished first")
		s.later(func(n *resync.Journal) { n.Snapshot, n.Slot = m.ID, "" })
		return resync.EventPlanned, nil
	}
	if m, slot := s.reclone(ctx, f, branches, own); m != nil {
		if err := s.saveManifest(ctx, m); err != nil {
			return "", fmt.Errorf("plan: %w", err)
		}
		s.later(func(n *resync.Journal) { n.Snapshot, n.Slot = m.ID, slot })
		return resync.EventPlanned, nil
	}
	j := s.journal()
	minStart, maxAge := messages.LSN(0), s.cfg.SnapshotMaxAge
	if plan.Next(s.cfg.Converge, j.Passes, s.estimate(ctx, f, branches, own), false) != plan.MovePass {
		slot, err := s.primary.Slot(ctx, j.ID, messages.SlotReserve)
		if err != nil {
			return "", fmt.Errorf("plan: reserve slot: %w", err)
		}
		// A request may come while the housekeeping drops what its resync does not have yet.
		s.released = ""
		minStart, maxAge = slot.RestartLSN, 0
		if j.Trigger || len(j.Passes) > 0 {
			// An operator wants the present state, and another pass a shorter gap. Otherwise
			// the newest snapshot will do as long as its WAL is there: nothing has to move.
			minStart = max(minStart, f.Identity.LSN)
		}
		j.Slot = slot.Name
	} else {
		j.Slot = ""
	}
	m, err := s.primary.Snapshot(ctx, minStart, maxAge)
	if err != nil {
		return "", fmt.Errorf("plan: snapshot: %w", err)
	}
	if err := s.matches(ctx, m); err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	if err := s.saveManifest(ctx, m); err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	s.later(func(n *resync.Journal) { n.Snapshot, n.Slot = m.ID, j.Slot })
	return resync.EventPlanned, nil
}

// estimate is the bytes of the next pass: the whole database for a seed, what the
// publisher says for an increment; 0 when it cannot be told.
func (s *Service) estimate(ctx context.Context, f *messages.PrimaryFacts, branches []plan.Branch, own map[messages.RelName]messages.History) uint64 {
	if f.Snapshot == nil {
		return 0
	}
	j := s.journal()
	pp, err := plan.Pass(f.Snapshot, f.History, branches, plan.Options{Full: j.Full, NewBranch: newBranch(j), Current: j.Branch, Live: own})
	if err != nil || pp.Kind == messages.PassSeed {
		var sum uint64
		for _, d := range f.Snapshot.Travelling() {
			sum += d.Referenced
		}
		return sum
	}
	// The pass will be to a newer snapshot: what was written since goes along.
	var sum uint64
	for _, step := range pp.Steps {
		size, since, ok := s.stepSize(ctx, step)
		if !ok {
			return 0
		}
		sum += size + since
	}
	return max(sum, 1)
}

// stepSize asks what a step would move, and how much was written on the publisher
// since its snapshot; ok is false when it is not known.
func (s *Service) stepSize(ctx context.Context, step plan.Step) (size, since uint64, ok bool) {
	if s.estimates == nil {
		return 0, 0, false
	}
	got, err := s.estimates.Estimate(ctx, messages.StreamRequest{Dataset: step.Dataset, To: step.To, From: step.Base.GUID})
	if err != nil {
		s.log.Debug().Err(err).Str("dataset", string(step.Dataset)).Msg("size not known")
		return 0, 0, false
	}
	if step.Have {
		return 0, got.Written, true
	}
	return got.Bytes, got.Written, true
}

// branches reads the lineage.
func (s *Service) branches(ctx context.Context) ([]plan.Branch, error) {
	tree, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return nil, err
	}
	histories, err := s.zfs.Histories(ctx, s.cfg.Lineage)
	if err != nil {
		return nil, err
	}
	var out []plan.Branch
	for _, top := range tree {
		if top.Name.Parent() != s.cfg.Lineage {
			continue
		}
		name, _ := top.Name.Rel(s.cfg.Lineage)
		b := plan.Branch{Name: name, Histories: map[messages.RelName]messages.History{}, Tokens: map[messages.RelName]messages.ResumeToken{}}
		for _, d := range tree {
			if rel, ok := d.Name.Rel(top.Name); ok {
				b.Histories[rel] = histories[d.Name]
				if d.Token != "" {
					b.Tokens[rel] = d.Token
				}
			}
		}
		out = append(out, b)
	}
	return out, nil
}
