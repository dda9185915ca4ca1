package primary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Facts tells a standby what the publisher has for it.
func (s *Service) Facts(ctx context.Context, r messages.FactsRequest) (*messages.PrimaryFacts, error) {
	lease, err := s.on()
	if err != nil {
		return nil, err
	}
	id, err := s.db.Identity(ctx)
	if err != nil {
		return nil, err
	}
	if id.Role != messages.RolePrimary {
		return nil, fmt.Errorf("node %s: %w: PostgreSQL is in recovery", s.cfg.Node, messages.ErrNotPrimary)
	}
	wal, err := s.db.WAL(ctx)
	if err != nil {
		return nil, err
	}
	f := &messages.PrimaryFacts{
		V: messages.Version, Cluster: s.cfg.Cluster, Node: s.cfg.Node, Lease: lease, At: s.now().UTC(),
		Identity: id, OldestWAL: wal.Oldest, WALSegmentSize: wal.SegmentSize,
		Snapshot: s.cat.newest(), Datasets: s.cat.facts(),
	}
	return f, s.addSlots(ctx, f, r.Node)
}

func (s *Service) addSlots(ctx context.Context, f *messages.PrimaryFacts, node messages.NodeName) error {
	slots, err := s.slotsOf(ctx, node)
	if err != nil {
		return err
	}
	f.Slots = slots
	senders, err := s.slots.Senders(ctx)
	if err != nil {
		return err
	}
	for _, w := range senders {
		// An HA manager has slots of its own, and the node's name for the application.
		if streams(w.State) && (messages.SlotIsOf(w.SlotName, node) || w.ApplicationName == string(node)) {
			f.Streaming = true
		}
	}
	return nil
}

// streams: a standby that still catches up receives WAL as one does that has caught
// up. Behind a line that is slower than the primary writes, it may never get there,
// and what it has proven is the same.
func streams(state string) bool { return state == "streaming" || state == "catchup" }

func (s *Service) slotsOf(ctx context.Context, node messages.NodeName) ([]messages.SlotState, error) {
	all, err := s.slots.Slots(ctx)
	if err != nil {
		return nil, err
	}
	var out []messages.SlotState
	for _, sl := range all {
		if messages.SlotIsOf(sl.Name, node) {
			out = append(out, sl)
		}
	}
	return out, nil
}

// Snapshot answers with a complete snapshot that satisfies the request, taking
// one if need be.
func (s *Service) Snapshot(ctx context.Context, r messages.SnapshotRequest) (*messages.Manifest, error) {
	if _, err := s.on(); err != nil {
		return nil, err
	}
	m, err := s.snaps.ask(ctx, r.MinStartLSN, time.Duration(r.MaxAgeMS)*time.Millisecond)
	if e, ok := errors.AsType[*crampedError](err); ok {
		// It ends when somebody makes room here: the standby waits, and needs no operator.
		return nil, fmt.Errorf("take snapshot: %w: %s", messages.ErrUnavailable, e.text)
	}
	return m, err
}

// Slot reserves or releases WAL for one copy of a standby.
func (s *Service) Slot(ctx context.Context, r messages.SlotRequest) (*messages.SlotReply, error) {
	if _, err := s.on(); err != nil {
		return nil, err
	}
	name := messages.SlotName(r.Node, r.Resync)
	reply := &messages.SlotReply{V: messages.Version, Slot: messages.SlotState{Name: name}}
	switch r.Action {
	case messages.SlotReserve:
		sl, err := s.reserve(ctx, name, r)
		if err != nil {
			return nil, err
		}
		reply.Slot = sl
		return reply, nil
	case messages.SlotRelease:
		return reply, s.slots.DropSlot(ctx, name)
	case messages.SlotKeep:
		return reply, s.dropOthers(ctx, r.Node, name)
	}
	return nil, fmt.Errorf("slot action %q: %w", r.Action, messages.ErrBadDocument)
}

func (s *Service) reserve(ctx context.Context, name string, r messages.SlotRequest) (messages.SlotState, error) {
	if r.From != 0 {
		return s.logs.ReserveSlotAt(ctx, name, r.Timeline, r.From)
	}
	return s.slots.ReserveSlot(ctx, name)
}

// WAL tells a standby whether its log is this server's: two histories may be on one
// timeline, where positions alone say nothing (PG-10).
func (s *Service) WAL(ctx context.Context, r messages.WALRequest) (*messages.WALReply, error) {
	if _, err := s.on(); err != nil {
		return nil, err
	}
	answers, err := s.logs.AttestWAL(ctx, r.Claims)
	if err != nil {
		return nil, err
	}
	return &messages.WALReply{V: messages.Version, Answers: answers}, nil
}

// dropOthers leaves active slots alone: a copy that still streams is not ours to
// judge; the next keep finds it again.
func (s *Service) dropOthers(ctx context.Context, node messages.NodeName, keep string) error {
	slots, err := s.slotsOf(ctx, node)
	if err != nil {
		return err
	}
	var errs []error
	for _, sl := range slots {
		if sl.Name != keep && !sl.Active {
			errs = append(errs, s.slots.DropSlot(ctx, sl.Name))
		}
	}
	return errors.Join(errs...)
}
