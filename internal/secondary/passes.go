package secondary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// receive makes the journal's pass and decides what follows.
func (s *Service) receive(ctx context.Context) (resync.Event, error) {
	m, err := s.manifest(ctx)
	if err != nil {
		return "", fmt.Errorf("receive: %w", err)
	}
	pp, report, err := s.pass(ctx, m)
	if errors.Is(err, messages.ErrNoSpace) {
		return s.cramped(ctx, m, pp, fmt.Errorf("receive: %w", err))
	}
	if err != nil {
		return "", fmt.Errorf("receive: %w", err)
	}
	j := s.journal()
	j.Passes = append(slices.Clone(j.Passes), report)
	event := resync.EventAgain
	if plan.Next(s.cfg.Converge, j.Passes, 0, j.Slot != "") == plan.MoveSwitch {
		event = resync.EventReceived
	}
	s.later(func(n *resync.Journal) { n.Passes, n.Branch = j.Passes, pp.Branch })
	return event, nil
}

// pass brings the lineage to m's snapshot, one dataset after the other, parents
// first, and marks it as complete.
func (s *Service) pass(ctx context.Context, m *messages.Manifest) (plan.PassPlan, messages.PassReport, error) {
	began := s.now()
	pp, err := s.passPlan(ctx, m)
	if err != nil {
		return pp, messages.PassReport{}, err
	}
	for _, into := range pp.Remove {
		if err := s.zfs.AbortReceive(ctx, s.cfg.Lineage.Child(into)); err != nil {
			return pp, messages.PassReport{}, err
		}
	}
	report := messages.PassReport{Snapshot: m.ID, Kind: pp.Kind, Base: pp.BaseID}
	for _, step := range pp.Steps {
		if step.Have {
			continue
		}
		if err := s.createParents(ctx, step); err != nil {
			return pp, report, err
		}
		n, err := s.transfer(ctx, m, step)
		report.Bytes += n
		if err != nil {
			return pp, report, fmt.Errorf("dataset %q of snapshot %s: %w", step.Dataset, m.ID, err)
		}
	}
	if err := s.markComplete(ctx, m, pp); err != nil {
		return pp, report, err
	}
	s.noteBases(ctx)
	report.Millis = s.now().Sub(began).Milliseconds()
	s.log.Info().Str("snapshot", string(m.ID)).Str("kind", string(report.Kind)).Uint64("bytes", report.Bytes).
		Int64("took_ms", report.Millis).Msg("pass complete")
	return pp, report, nil
}

func (s *Service) markComplete(ctx context.Context, m *messages.Manifest, pp plan.PassPlan) error {
	packed, err := messages.PackProperty(m)
	if err != nil {
		return err
	}
	return s.zfs.SetSnapshotProperties(ctx, s.cfg.Lineage.Child(pp.Branch).Snapshot(m.ID.ShortName()), map[string]string{
		messages.PropID: string(m.ID), messages.PropState: messages.StateComplete, messages.PropManifest: packed,
	})
}

// createParents makes the datasets above a step's that do not travel themselves.
func (s *Service) createParents(ctx context.Context, step plan.Step) error {
	for _, d := range step.Create {
		if err := s.zfs.Create(ctx, s.cfg.Lineage.Child(d), s.lineageProperties()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) passPlan(ctx context.Context, m *messages.Manifest) (plan.PassPlan, error) {
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return plan.PassPlan{}, err
	}
	branches, err := s.branches(ctx)
	if err != nil {
		return plan.PassPlan{}, err
	}
	own, err := s.ownHistories(ctx)
	if err != nil {
		return plan.PassPlan{}, err
	}
	j := s.journal()
	return plan.Pass(m, f.History, branches, plan.Options{
		Full: j.Full && !resting(j.Phase), NewBranch: newBranch(j), Current: j.Branch, Live: own,
	})
}
