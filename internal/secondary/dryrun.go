package secondary

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func (s *Service) dryRun(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	p, err := s.foresee(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("plan a resync of node %s: %w", s.cfg.Node, err)
	}
	reply := s.reply("node %s: a resync would be of kind %s, about %d bytes from %s", s.cfg.Node, p.Kind, p.Bytes, p.Publisher)
	reply.Plan = p
	return reply, nil
}

// Foresee tells what a resync would do now, to one who does not run the service:
// the doctor. It changes nothing, and needs no lineage.
func (s *Service) Foresee(ctx context.Context) (*messages.ResyncPlan, error) {
	return s.foresee(ctx, messages.OperatorRequest{})
}

// foresee is plan and passPlan without a deed: against the publisher's newest
// snapshot, where the resync itself would take a newer one.
func (s *Service) foresee(ctx context.Context, r messages.OperatorRequest) (*messages.ResyncPlan, error) {
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return nil, err
	}
	p := &messages.ResyncPlan{Publisher: f.Node, Kind: messages.PassSeed}
	var branches []plan.Branch
	switch root, err := s.zfs.List(ctx, s.cfg.Lineage); {
	case errors.Is(err, messages.ErrNotFound):
		if root, err = s.zfs.Survey(ctx, messages.Dataset(s.cfg.Lineage.Pool())); err != nil {
			return nil, err
		}
		p.Available = root[0].Available
	case err != nil:
		return nil, err
	default:
		p.Available = root[0].Available
		if branches, err = s.branches(ctx); err != nil {
			return nil, err
		}
	}
	s.foreseeObstacles(ctx, p, f, r)
	if f.Snapshot == nil {
		return p, nil // its first one is taken then; nothing is known of it
	}
	pp, err := plan.Pass(f.Snapshot, f.History, branches, plan.Options{Full: r.Full, NewBranch: plan.DefaultBranch + "-" + messages.RelName(f.Snapshot.ID)})
	if err != nil {
		obstacle(p, err)
		return p, nil
	}
	p.Target, p.Base, p.Kind = f.Snapshot.ID, pp.BaseID, pp.Kind
	for _, step := range pp.Steps {
		s.foreseeStep(ctx, p, f.Snapshot, step)
	}
	if need := p.Bytes + p.Bytes/20; need > p.Available {
		obstacle(p, fmt.Errorf("pool %s: %w: about %d bytes are needed, %d are available", s.cfg.Lineage.Pool(), messages.ErrNoSpace, need, p.Available))
	}
	return p, nil
}

func obstacle(p *messages.ResyncPlan, err error) {
	if err == nil {
		return
	}
	text := err.Error()
	if remedy, ok := remedyOf(err); ok {
		text += " (" + remedy + ")"
	}
	p.Obstacles = append(p.Obstacles, text)
}

// foreseeObstacles asks the gates as the resync of an operator would.
func (s *Service) foreseeObstacles(ctx context.Context, p *messages.ResyncPlan, f *messages.PrimaryFacts, r messages.OperatorRequest) {
	if pause := s.pausedNow(); pause != nil && !r.Resume {
		obstacle(p, fmt.Errorf("the node is paused %s", pause))
	}
	j := s.journal()
	if j.Phase != "" && !resting(j.Phase) {
		obstacle(p, fmt.Errorf("resync %s runs (%s); another one would join it", j.ID, j.Phase))
	}
	j.Trigger, j.Reason, j.Consent = true, messages.ReasonRequested, !r.All && s.cfg.Diagnosis.RejoinPromoted != plan.RejoinNever
	obstacle(p, s.gatesOf(ctx, f, j))
	if f.Snapshot != nil {
		obstacle(p, s.matches(ctx, f.Snapshot))
	}
}

func (s *Service) foreseeStep(ctx context.Context, p *messages.ResyncPlan, m *messages.Manifest, step plan.Step) {
	d, _ := m.Dataset(step.Dataset)
	out := messages.PlanStep{Dataset: step.Dataset, Kind: messages.PassIncrement, Resumes: step.Token != ""}
	switch {
	case step.Have:
		out.Kind = messages.PassNone
	case step.Base.GUID == 0:
		out.Kind, out.Bytes = messages.PassSeed, d.Referenced
	default:
		out.Base, _ = messages.SnapshotIDOf(step.Base.Name)
	}
	if size, since, ok := s.stepSize(ctx, step); ok {
		out.Bytes = size
		p.Since += since
	}
	p.Bytes += out.Bytes
	p.Steps = append(p.Steps, out)
}
