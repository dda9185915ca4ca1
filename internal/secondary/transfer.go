package secondary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// transfer moves one dataset. A cut transfer goes on from the partial receive;
// a token that no longer fits is given up for a new stream.
func (s *Service) transfer(ctx context.Context, m *messages.Manifest, step plan.Step) (uint64, error) {
	const tries = 6
	var moved uint64
	for try := 1; ; try++ {
		n, err := s.transferOnce(ctx, m, step)
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

func (s *Service) transferOnce(ctx context.Context, m *messages.Manifest, step plan.Step) (uint64, error) {
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
	if step.Base.GUID == 0 || step.Origin.GUID != 0 {
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
