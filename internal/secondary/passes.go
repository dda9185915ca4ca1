package secondary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

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
	branches, err := s.branches(ctx)
	if err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	j := s.journal()
	minStart, maxAge := messages.LSN(0), s.cfg.SnapshotMaxAge
	if plan.Next(s.cfg.Converge, j.Passes, estimate(f, branches, j.Full), false) != plan.MovePass {
		slot, err := s.primary.Slot(ctx, j.ID, messages.SlotReserve)
		if err != nil {
			return "", fmt.Errorf("plan: reserve slot: %w", err)
		}
		minStart, maxAge = slot.RestartLSN, 0
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
	return resync.EventPlanned, s.note(ctx, func(n *resync.Journal) { n.Snapshot, n.Slot = m.ID, j.Slot })
}

// estimate is the bytes of the next pass: the whole database for a seed, little
// for an increment; 0 when it cannot be told.
func estimate(f *messages.PrimaryFacts, branches []plan.Branch, full bool) uint64 {
	if f.Snapshot == nil {
		return 0
	}
	if !full {
		pp, err := plan.Pass(f.Snapshot, f.History, branches, plan.Options{})
		if err == nil && pp.Kind != messages.PassSeed {
			return 1
		}
	}
	var sum uint64
	for _, d := range f.Snapshot.Travelling() {
		sum += d.Referenced
	}
	return sum
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

// receive moves the datasets of the pass, one after the other, parents first.
func (s *Service) receive(ctx context.Context) (resync.Event, error) {
	m, err := s.manifest(ctx)
	if err != nil {
		return "", fmt.Errorf("receive: %w", err)
	}
	began := s.now()
	pp, err := s.passPlan(ctx, m)
	if err != nil {
		return "", fmt.Errorf("receive: %w", err)
	}
	if err := s.clear(ctx, pp); err != nil {
		return "", fmt.Errorf("receive: %w", err)
	}
	pass := messages.PassReport{Snapshot: m.ID, Kind: pp.Kind, Base: pp.BaseID}
	for _, step := range pp.Steps {
		if step.Have {
			continue
		}
		n, err := s.transfer(ctx, m, pp, step)
		pass.Bytes += n
		if err != nil {
			return "", fmt.Errorf("receive %q of snapshot %s: %w", step.Dataset, m.ID, err)
		}
	}
	pass.Millis = s.now().Sub(began).Milliseconds()
	return s.passDone(ctx, m, pp, pass)
}

// clear gives up partial receives of no use, and makes parents that do not travel.
func (s *Service) clear(ctx context.Context, pp plan.PassPlan) error {
	for _, into := range pp.Remove {
		if err := s.zfs.AbortReceive(ctx, s.cfg.Lineage.Child(into)); err != nil {
			return err
		}
	}
	for _, d := range pp.Create {
		if err := s.zfs.Create(ctx, s.cfg.Lineage.Child(d), s.lineageProperties()); err != nil {
			return err
		}
	}
	return nil
}

// lineageProperties are of every received dataset: a mount alone would modify it
// (zrepl#405), so it is neither mountable nor writable.
func (s *Service) lineageProperties() map[string]string {
	return map[string]string{"readonly": "on", "canmount": "noauto", "mountpoint": "none", messages.PropCluster: string(s.cfg.Cluster)}
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
	j := s.journal()
	return plan.Pass(m, f.History, branches, plan.Options{
		Full: j.Full, NewBranch: plan.DefaultBranch + "-" + messages.RelName(j.ID), Current: j.Branch,
	})
}

// passDone marks the snapshot as complete and decides what follows.
func (s *Service) passDone(ctx context.Context, m *messages.Manifest, pp plan.PassPlan, pass messages.PassReport) (resync.Event, error) {
	packed, err := messages.PackProperty(m)
	if err != nil {
		return "", err
	}
	root := s.cfg.Lineage.Child(pp.Branch).Snapshot(m.ID.ShortName())
	err = s.zfs.SetSnapshotProperties(ctx, root, map[string]string{
		messages.PropID: string(m.ID), messages.PropState: messages.StateComplete, messages.PropManifest: packed,
	})
	if err != nil {
		return "", fmt.Errorf("mark %s: %w", root, err)
	}
	s.log.Info().Str("snapshot", string(m.ID)).Str("kind", string(pass.Kind)).Uint64("bytes", pass.Bytes).
		Int64("ms", pass.Millis).Msg("pass complete")
	event := resync.EventAgain
	j := s.journal()
	j.Passes = append(slices.Clone(j.Passes), pass)
	if plan.Next(s.cfg.Converge, j.Passes, 0, j.Slot != "") == plan.MoveSwitch {
		event = resync.EventReceived
	}
	return event, s.note(ctx, func(n *resync.Journal) { n.Passes, n.Branch = j.Passes, pp.Branch })
}

// transfer moves one dataset. A cut transfer goes on from the partial receive;
// a token that no longer fits is given up for a new stream.
func (s *Service) transfer(ctx context.Context, m *messages.Manifest, pp plan.PassPlan, step plan.Step) (uint64, error) {
	const tries = 6
	var moved uint64
	for try := 1; ; try++ {
		n, err := s.transferOnce(ctx, m, pp, step)
		moved += n
		if err == nil || ctx.Err() != nil {
			return moved, err
		}
		into := s.cfg.Lineage.Child(step.Into)
		switch {
		case step.Token != "" && (errors.Is(err, messages.ErrTokenInvalid) || errors.Is(err, messages.ErrNotFound)):
			s.log.Warn().Err(err).Str("dataset", string(into)).Msg("partial receive given up")
			if aerr := s.zfs.AbortReceive(ctx, into); aerr != nil {
				return moved, errors.Join(err, aerr)
			}
			step.Token = ""
		case resumable(err) && try < tries:
			s.log.Warn().Err(err).Str("dataset", string(into)).Int("try", try).Msg("transfer cut, going on")
			if err := s.pause(ctx, resync.BackOff(try, 0)/5); err != nil {
				return moved, err
			}
			if step.Token, err = s.token(ctx, into); err != nil {
				return moved, err
			}
		default:
			return moved, err
		}
		if try >= 2*tries {
			return moved, err
		}
	}
}

func (s *Service) token(ctx context.Context, d messages.Dataset) (messages.ResumeToken, error) {
	info, err := s.zfs.List(ctx, d)
	if errors.Is(err, messages.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return info[0].Token, nil
}

func (s *Service) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (s *Service) transferOnce(ctx context.Context, m *messages.Manifest, pp plan.PassPlan, step plan.Step) (uint64, error) {
	rec, err := s.primary.Stream(ctx, messages.StreamRequest{
		V: messages.Version, Cluster: s.cfg.Cluster, Node: s.cfg.Node, Dataset: step.Dataset,
		To: step.To, From: step.Base.GUID, Token: step.Token,
	})
	if err != nil {
		return 0, err
	}
	if rec.To != step.To || rec.From != step.Base.GUID || rec.Flags != m.Flags {
		return 0, fmt.Errorf("record of stream %s: %w: it is for other snapshots or flags", rec.Stream, messages.ErrStreamMismatch)
	}
	if err := s.room(ctx, rec.Estimate); err != nil {
		return 0, err
	}
	spec := messages.ReceiveSpec{
		Into: s.cfg.Lineage.Child(step.Into), Snapshot: m.ID.ShortName(), To: step.To, From: step.Base.GUID,
	}
	if step.Base.GUID == 0 || pp.NewBranch {
		spec.Set = s.lineageProperties()
	}
	var moved uint64
	tell := s.progress(messages.TransferReport{
		Resync: s.journal().ID, Snapshot: m.ID, Dataset: step.Dataset, Stream: rec.Stream, Estimate: rec.Estimate,
	})
	err = s.downloads.Read(ctx, *rec, s.cfg.Node, func(bytes uint64) { moved = bytes; tell(bytes) },
		func(ctx context.Context, verified io.Reader) error { return s.zfs.Receive(ctx, spec, verified) })
	return moved, err
}

// room refuses a stream that would fill the pool.
func (s *Service) room(ctx context.Context, estimate uint64) error {
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return err
	}
	if need := estimate + estimate/20; info[0].Available < need {
		return incurable(fmt.Errorf("pool %s: %w: the stream needs about %d bytes, %d are available",
			s.cfg.Lineage.Pool(), messages.ErrNoSpace, need, info[0].Available), "free or add space in the pool, then trigger a resync")
	}
	return nil
}
