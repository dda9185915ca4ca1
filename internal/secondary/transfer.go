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

const (
	// tries is how often a transfer that brings nothing new is begun again.
	tries = 6
	// futile is how often a partial receive may take bytes and have nothing to show
	// for them.
	futile = 3
)

// transfer moves one dataset. A cut transfer goes on from the partial receive; a
// token that no longer fits is given up for a new stream.
func (s *Service) transfer(ctx context.Context, m *messages.Manifest, step plan.Step) (uint64, error) {
	var moved uint64
	var failed messages.MessageID
	wasted := 0
	for try := 1; ; try++ {
		n, attempt, err := s.transferOnce(ctx, m, step, failed)
		moved += n
		if err == nil || ctx.Err() != nil {
			return moved, err
		}
		switch before := step.Token; {
		case before != "" && (useless(err) || wasted >= futile):
			if err := s.giveUpPartial(ctx, m, &step, err); err != nil {
				return moved, err
			}
			wasted = 0
		case resumable(err) && try < tries:
			if err := s.goOn(ctx, m, &step, try, err); err != nil {
				return moved, err
			}
			// A long transfer may be cut often: a try that left more behind does not count.
			failed = attempt
			switch {
			case errors.Is(err, messages.ErrQueued): // others may take hours
				try = 0
			case step.Token != "" && step.Token != before:
				try, wasted = 0, 0
			case n > 0:
				wasted++
			}
		default:
			return moved, err
		}
	}
}

// useless reports whether err means that the partial receive cannot be continued,
// now or later: its snapshot or base is gone, it is of another stream, or the
// dataset went on without it.
func useless(err error) bool {
	return errors.Is(err, messages.ErrTokenInvalid) || errors.Is(err, messages.ErrNotFound) ||
		errors.Is(err, messages.ErrStreamMismatch) || errors.Is(err, messages.ErrExists)
}

// giveUpPartial removes a partial receive that nobody can continue, for instance
// because its snapshot is gone; the next try asks for a new stream.
func (s *Service) giveUpPartial(ctx context.Context, m *messages.Manifest, step *plan.Step, why error) error {
	into := s.cfg.Lineage.Child(step.Into)
	s.trouble(m, step, fmt.Sprintf("the partial receive in %s was given up, the transfer begins anew: %s", into, why))
	if err := s.zfs.AbortReceive(ctx, into); err != nil {
		return errors.Join(why, err)
	}
	step.Token = ""
	return nil
}

// goOn prepares the next try after a cut.
func (s *Service) goOn(ctx context.Context, m *messages.Manifest, step *plan.Step, try int, why error) error {
	what := "cut, going on"
	if errors.Is(why, messages.ErrQueued) {
		what = "waits for its turn"
	}
	s.trouble(m, step, fmt.Sprintf("%s: %s", what, why))
	if err := s.pause(ctx, resync.BackOff(try, 0)/5); err != nil {
		return err
	}
	token, err := s.token(ctx, s.cfg.Lineage.Child(step.Into))
	if err == nil {
		step.Token = token
	}
	return err
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

// transferOnce returns what was moved and the attempt that moved it; not is the
// attempt that failed before.
func (s *Service) transferOnce(ctx context.Context, m *messages.Manifest, step plan.Step, not messages.MessageID) (
	uint64, messages.MessageID, error,
) {
	room, err := s.room(ctx)
	if err != nil {
		return 0, "", err
	}
	rec, err := s.primary.Stream(ctx, messages.StreamRequest{
		V: messages.Version, Cluster: s.cfg.Cluster, Node: s.cfg.Node, Dataset: step.Dataset,
		To: step.To, From: step.Base.GUID, Token: step.Token, Not: not, Room: room,
	})
	if errors.Is(err, messages.ErrNoSpace) {
		return 0, "", incurable(err, "free or add space in the pool, or raise the quota above "+string(s.cfg.Lineage)+", then trigger a resync")
	}
	if err != nil {
		return 0, "", err
	}
	if rec.To != step.To || rec.From != step.Base.GUID || rec.Flags != m.Flags {
		return 0, "", fmt.Errorf("record of stream %s: %w: it is for other snapshots or flags", rec.Stream, messages.ErrStreamMismatch)
	}
	spec := messages.ReceiveSpec{
		Into: s.cfg.Lineage.Child(step.Into), Snapshot: m.ID.ShortName(), To: step.To, From: step.Base.GUID, Flags: m.Flags,
	}
	if step.Base.GUID == 0 || step.Origin.GUID != 0 {
		spec.Set = s.lineageProperties()
	}
	var moved uint64
	tell := s.progress(messages.TransferReport{
		Resync: s.journal().ID, Snapshot: m.ID, Dataset: step.Dataset, Stream: rec.Stream, Estimate: rec.Estimate,
	})
	defer s.setTransfer(nil)
	err = s.downloads.Read(ctx, *rec, s.cfg.Node, func(bytes uint64) { moved = bytes; tell(bytes) },
		func(ctx context.Context, verified io.Reader) error { return s.zfs.Receive(ctx, spec, verified) })
	if errors.Is(err, messages.ErrKeys) {
		err = incurable(err, "add the public key of PGRESYNC_IDENTITY_FILE here to PGRESYNC_RECIPIENTS on the publisher, or correct either, then trigger a resync")
	}
	return moved, rec.Attempt, err
}

// room is what the pool, or a quota, leaves for a stream. The publisher knows the
// estimate, and refuses a stream that needs more before it begins it.
func (s *Service) room(ctx context.Context) (uint64, error) {
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return 0, err
	}
	return max(info[0].Available, 1), nil // 0 would say that it is unknown
}
