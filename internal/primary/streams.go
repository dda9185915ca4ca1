package primary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Stream starts the upload that a standby asks for, or joins it.
func (s *Service) Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	lease, err := s.on()
	if err != nil {
		return nil, err
	}
	spec, err := s.sendSpec(r)
	if err != nil {
		return nil, fmt.Errorf("stream of %q to %s: %w", r.Dataset, r.Node, err)
	}
	// Never plain for want of a key: who asks tries again.
	recipients, err := s.seals.Keys()
	if err != nil {
		return nil, fmt.Errorf("stream of %s to %s: %w: %w", spec.Target, r.Node, messages.ErrUnavailable, err)
	}
	rec := messages.StreamRecord{
		V: messages.Version, Stream: messages.NewStreamID(r.To, r.From, spec.Flags, r.Token, recipients...), Recipients: recipients,
		Cluster: s.cfg.Cluster, Node: s.cfg.Node, Dataset: r.Dataset, To: r.To, From: r.From,
		Flags: spec.Flags, Resumed: r.Token != "", Lease: lease, State: messages.StreamRunning, At: s.now().UTC(),
	}
	// An estimate is for people and for the space check; a stream without one works.
	if rec.Estimate, err = s.zfs.Estimate(ctx, spec); err != nil {
		return nil, fmt.Errorf("estimate stream of %s: %w", spec.Target, err)
	}
	if need := rec.Estimate + rec.Estimate/20; r.Room > 0 && need > r.Room {
		return nil, fmt.Errorf("stream of %s to %s: %w: it needs about %d bytes, the reader's pool has %d",
			spec.Target, r.Node, messages.ErrNoSpace, need, r.Room)
	}
	id, _ := messages.SnapshotIDOf(spec.Target)
	if err := s.standbys.sending(ctx, r.Node, id); err != nil {
		return nil, fmt.Errorf("stream of %s to %s: %w", spec.Target, r.Node, err)
	}
	got, err := s.uploads.Join(ctx, rec, r.Node, r.Not, func(ctx context.Context) (io.ReadCloser, error) {
		s.log.Info().Str("stream", string(rec.Stream)).Str("target", string(spec.Target)).Str("base", string(spec.Base)).
			Uint64("estimate", rec.Estimate).Bool("resumed", rec.Resumed).Int("recipients", len(recipients)).Msg("zfs send starts")
		return s.send(ctx, spec, rec)
	})
	if err != nil {
		return nil, fmt.Errorf("stream of %s to %s: %w", spec.Target, r.Node, err)
	}
	s.log.Info().Str("stream", string(rec.Stream)).Str("reader", string(r.Node)).Int("readers", len(got.Readers)).Msg("reader joined")
	return &got, nil
}

// plain encrypts nothing.
type plain struct{}

func (plain) Keys() ([]string, error) { return nil, nil }

func (plain) Seal(_ messages.StreamRecord, src io.ReadCloser) (io.ReadCloser, error) { return src, nil }

func (s *Service) send(ctx context.Context, spec messages.SendSpec, rec messages.StreamRecord) (io.ReadCloser, error) {
	src, err := s.zfs.Send(ctx, spec)
	if err != nil || len(rec.Recipients) == 0 {
		return src, err
	}
	sealed, err := s.seals.Seal(rec, src)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return sealed, nil
}

// Estimate tells how much a stream would move, and how much was written since the
// newest snapshot, without starting anything.
func (s *Service) Estimate(ctx context.Context, r messages.StreamRequest) (*messages.EstimateReply, error) {
	if _, err := s.on(); err != nil {
		return nil, err
	}
	spec, err := s.sendSpec(r)
	if err != nil {
		return nil, fmt.Errorf("estimate stream of %q to %s: %w", r.Dataset, r.Node, err)
	}
	out := &messages.EstimateReply{V: messages.Version}
	if out.Bytes, err = s.zfs.Estimate(ctx, spec); err != nil {
		return nil, fmt.Errorf("estimate stream of %s: %w", spec.Target, err)
	}
	tree, err := s.zfs.List(ctx, s.cfg.Dataset.Child(r.Dataset))
	if err != nil {
		return nil, err
	}
	out.Written = tree[0].Written
	return out, nil
}

// sendSpec finds the snapshots that the request names. Only snapshots of ours
// with a complete manifest are ever sent (I-2).
func (s *Service) sendSpec(r messages.StreamRequest) (messages.SendSpec, error) {
	h := s.cat.history(r.Dataset)
	to, ok := h.ByGUID(r.To)
	if !ok || to.Bookmark {
		return messages.SendSpec{}, fmt.Errorf("target snapshot %s: %w; ask for facts and plan again", r.To, messages.ErrNotFound)
	}
	id, _ := messages.SnapshotIDOf(to.Name)
	m := s.cat.manifest(id)
	if m == nil {
		return messages.SendSpec{}, fmt.Errorf("manifest of %s: %w", to.Name, messages.ErrNotFound)
	}
	if d, ok := m.Dataset(r.Dataset); !ok || !d.Travels {
		return messages.SendSpec{}, fmt.Errorf("dataset %q of %s: %w: it does not travel", r.Dataset, id, messages.ErrRefused)
	}
	spec := messages.SendSpec{Target: to.Name, To: r.To, Flags: m.Flags, Token: r.Token}
	if r.From == 0 {
		return spec, nil
	}
	from, ok := h.ByGUID(r.From)
	if !ok {
		return messages.SendSpec{}, fmt.Errorf("base snapshot %s: %w; ask for facts and plan again", r.From, messages.ErrNotFound)
	}
	if from.CreateTXG >= to.CreateTXG {
		return messages.SendSpec{}, fmt.Errorf("base %s is not older than target %s: %w", from.Name, to.Name, messages.ErrBadDocument)
	}
	spec.Base, spec.From = from.Name, r.From
	return spec, nil
}

// inUse are the versions of h that running or joinable uploads read, those of the same
// snapshot, whose turn is to come, and what a bracket is about to complete.
func (s *Service) inUse(h messages.History) map[messages.GUID]bool {
	use := map[messages.GUID]bool{}
	for _, r := range s.uploads.Streams() {
		use[r.To], use[r.From] = true, true
		for _, g := range s.cat.travelsWith(r.To) {
			use[g] = true
		}
	}
	for _, v := range h {
		if id, ours := messages.SnapshotIDOf(v.Name); ours && id == s.snaps.bracket.inWork() {
			use[v.GUID] = true
		}
	}
	return use
}

// sends is whether the snapshot id is being sent to node.
func (s *Service) sends(node messages.NodeName, id messages.SnapshotID) bool {
	m := s.cat.manifest(id)
	return m != nil && slices.ContainsFunc(s.uploads.Streams(), func(r messages.StreamRecord) bool {
		return slices.Contains(r.Readers, node) && slices.ContainsFunc(m.Datasets, func(d messages.ManifestDataset) bool { return d.GUID == r.To })
	})
}

// sweepInterval is between two looks for leftovers, sweepRetry after one that failed.
const (
	sweepInterval = time.Hour
	sweepRetry    = 15 * time.Second
	sweepLook     = time.Second
)

// sweep removes what dead publishers left in the bucket: at once when this node
// comes on duty, since their readers wait until they see that nothing will come
// any more, and hourly from then on. Off duty nothing is touched: what looks dead
// here is alive on the node that publishes.
func (s *Service) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepLook)
	defer tick.Stop()
	var due time.Time
	for {
		if _, err := s.duty.on(); err != nil {
			due = time.Time{}
		} else if now := s.now(); !now.Before(due) {
			due = now.Add(s.sweepOnce(ctx))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// sweepOnce returns when to look again.
func (s *Service) sweepOnce(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.uploads.Sweep(ctx, func() error { _, err := s.duty.on(); return err })
	if err != nil {
		s.log.Warn().Err(err).Msg("leftovers of dead streams not removed yet")
		return sweepRetry
	}
	return sweepInterval
}
