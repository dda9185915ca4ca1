package secondary

import (
	"context"
	"fmt"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// A pause is kept in a user property of its own on the lineage root, not in the
// journal: it outlives resyncs, and an operator can see and clear it by hand.

func (s *Service) loadPause(ctx context.Context) (*messages.Pause, error) {
	info, err := s.zfs.List(ctx, s.cfg.Lineage)
	if err != nil {
		return nil, fmt.Errorf("read whether the node is paused: %w", err)
	}
	packed, ok := info[0].Marks[messages.PropPaused]
	if !ok {
		return nil, nil //nolint:nilnil // no pause is no error
	}
	var rec messages.PauseRecord
	if err := messages.UnpackProperty(packed, &rec); err != nil {
		return nil, fmt.Errorf("read whether the node is paused: %w; clear it with `zfs inherit %s %s`", err, messages.PropPaused, s.cfg.Lineage)
	}
	return &rec.Pause, nil
}

// pausedNow is the pause that holds, nil when there is none.
func (s *Service) pausedNow() *messages.Pause {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}

// Pause keeps the node from beginning anything by itself: resyncs, refreshing the
// lineage, housekeeping. A resync that runs goes on, because its middle is no place
// to stop.
func (s *Service) Pause(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if err := s.isReady(); err != nil {
		return nil, err
	}
	p := &messages.Pause{By: r.By, Reason: r.Reason, At: s.now().UTC()}
	packed, err := messages.PackProperty(&messages.PauseRecord{V: messages.Version, Pause: *p})
	if err != nil {
		return nil, fmt.Errorf("pause: %w", err)
	}
	if err := s.zfs.SetProperties(ctx, s.cfg.Lineage, map[string]string{messages.PropPaused: packed}); err != nil {
		return nil, fmt.Errorf("pause: %w", err)
	}
	s.setPaused(p)
	text := fmt.Sprintf("node %s begins nothing by itself, paused %s", s.cfg.Node, p)
	if !resting(s.journal().Phase) {
		text += "; the resync that runs goes on"
	}
	s.log.Info().Str("by", p.By).Str("because", p.Reason).Msg("paused")
	s.out.put(s.event(messages.EventPaused, text))
	return s.reply("%s", text), nil
}

// Resume ends a pause, and drops an operator's request that stopped for its operator:
// a standby that streams is well from then on. Without either it does nothing.
func (s *Service) Resume(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if err := s.isReady(); err != nil {
		return nil, err
	}
	dropped, err := s.dropRequest(ctx)
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	paused := s.pausedNow() != nil
	switch {
	case !paused && dropped == "":
		return s.reply("node %s was not paused", s.cfg.Node), nil
	case paused:
		if err := s.resume(ctx, r.By); err != nil {
			return nil, err
		}
	}
	s.wake()
	if dropped != "" {
		s.log.Info().Str("by", r.By).Str("resync", string(dropped)).Msg("what was asked for is dropped")
		return s.reply("node %s looks after itself again; resync %s, which was asked for and stopped for its operator, is dropped", s.cfg.Node, dropped), nil
	}
	return s.reply("node %s looks after itself again", s.cfg.Node), nil
}

// dropRequest makes nothing of a request that only a success would end otherwise.
func (s *Service) dropRequest(ctx context.Context) (dropped messages.ResyncID, err error) {
	if j := s.journal(); j.Phase != messages.PhaseNeedsOperator || !j.Trigger {
		return "", nil
	}
	err = s.note(ctx, func(n *resync.Journal) {
		if n.Phase == messages.PhaseNeedsOperator {
			n.Trigger, dropped = false, n.ID
		}
	})
	return dropped, err
}

func (s *Service) resume(ctx context.Context, by string) error {
	if err := s.zfs.InheritProperty(ctx, s.cfg.Lineage, messages.PropPaused); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	s.setPaused(nil)
	s.log.Info().Str("by", by).Msg("resumed")
	s.out.put(s.event(messages.EventResumed, fmt.Sprintf("node %s looks after itself again", s.cfg.Node)))
	return nil
}

func (s *Service) setPaused(p *messages.Pause) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = p
}

// refused tells that a trigger was not obeyed: it has nobody to answer to.
func (s *Service) refused(t messages.Trigger, p *messages.Pause) {
	text := fmt.Sprintf("node %s does not resync: it is paused %s", s.cfg.Node, p)
	s.log.Warn().Str("by", t.By).Str("because", t.Reason).Msg(text)
	s.out.put(s.event(messages.EventRefused, text))
}

func (s *Service) isReady() error {
	select {
	case <-s.ready:
		return nil
	default:
		return fmt.Errorf("node %s: %w: the journal is not read yet", s.cfg.Node, messages.ErrUnavailable)
	}
}
