package primary

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// Status answers an operator who asks how this node is.
func (s *Service) Status(ctx context.Context, _ messages.OperatorRequest) (*messages.OperatorReply, error) {
	st := s.status(ctx)
	reply := s.reply("node %s: PostgreSQL is %s", s.cfg.Node, st.Role)
	reply.Status = &st
	return reply, nil
}

// TakeSnapshot takes a snapshot now. A pause is about the schedule; an operator
// who asks by hand knows of it.
func (s *Service) TakeSnapshot(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if _, err := s.on(); err != nil {
		return nil, err
	}
	s.log.Info().Str("by", r.By).Str("because", r.Reason).Msg("snapshot asked for")
	m, err := s.snaps.ask(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	reply := s.reply("snapshot %s is ready, WAL from %s to %s", m.ID, m.StartLSN, m.StopLSN)
	reply.Snapshot = m.ID
	return reply, nil
}

// ListStreams tells which uploads run, or may still be joined.
func (s *Service) ListStreams(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
	streams := s.uploads.Streams()
	slices.SortFunc(streams, func(a, b messages.StreamRecord) int { return cmp.Compare(a.Stream, b.Stream) })
	reply := s.reply("%d streams", len(streams))
	reply.Streams = streams
	return reply, nil
}

// Pause suspends snapshots by schedule, durably. Standbys are served all the same.
func (s *Service) Pause(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	p := &messages.Pause{By: r.By, Reason: r.Reason, At: s.now().UTC()}
	if err := s.pause.set(ctx, p); err != nil {
		return nil, err
	}
	s.announce(ctx, messages.EventPaused, fmt.Sprintf("node %s takes no snapshots by itself, paused %s", s.cfg.Node, p))
	return s.reply("node %s takes no snapshots by itself, paused %s", s.cfg.Node, p), nil
}

// Resume ends a pause; without one it does nothing.
func (s *Service) Resume(ctx context.Context, _ messages.OperatorRequest) (*messages.OperatorReply, error) {
	if s.pause.on() == nil {
		return s.reply("node %s was not paused", s.cfg.Node), nil
	}
	if err := s.pause.set(ctx, nil); err != nil {
		return nil, err
	}
	s.announce(ctx, messages.EventResumed, fmt.Sprintf("node %s takes snapshots by its schedule again", s.cfg.Node))
	return s.reply("node %s takes snapshots by its schedule again", s.cfg.Node), nil
}

// Cleanup prunes snapshots and bookmarks beyond what is to be kept, which
// otherwise happens after each snapshot.
func (s *Service) Cleanup(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if _, err := s.on(); err != nil {
		return nil, err
	}
	if err := s.cat.refresh(ctx); err != nil {
		return nil, err
	}
	keep, err := s.keep(ctx)
	if err != nil {
		return nil, fmt.Errorf("clean up: %w", err)
	}
	report := &messages.CleanupReport{DryRun: r.DryRun, Items: s.cat.surplus(keep)}
	verb := "removed"
	if r.DryRun {
		verb = "would be removed"
	} else if err := s.cat.prune(ctx, keep); err != nil {
		return nil, fmt.Errorf("clean up: %w", err)
	}
	reply := s.reply("%d snapshots and bookmarks %s", len(report.Items), verb)
	reply.Cleanup = report
	return reply, nil
}

// surplus lists what prune would remove.
func (c *catalogue) surplus(keep keeps) []messages.CleanupItem {
	c.mu.Lock()
	histories := c.histories
	c.mu.Unlock()
	var items []messages.CleanupItem
	for d, h := range histories {
		name, _ := d.Rel(c.cfg.Dataset)
		k := keep(name, h)
		destroy, _ := plan.Retain(h, k)
		for _, old := range destroy {
			item := messages.CleanupItem{Kind: "snapshot", Name: string(old.Name), Why: fmt.Sprintf("more than %d are there", c.cfg.KeepSnapshots)}
			switch {
			case k.Stays:
				item.Why = "its dataset is not sent to standbys"
			case k.Cramped:
				item.Why = fmt.Sprintf("more than %d %% of the pool or quota are used", c.cfg.PoolLimit)
			}
			if old.Bookmark {
				item.Kind, item.Why = "bookmark", fmt.Sprintf("more than %d are there, or its snapshot is", c.cfg.KeepBookmarks)
			}
			items = append(items, item)
		}
	}
	slices.SortFunc(items, func(a, b messages.CleanupItem) int { return cmp.Compare(a.Name, b.Name) })
	return items
}

func (s *Service) reply(format string, args ...any) *messages.OperatorReply {
	return &messages.OperatorReply{
		V: messages.Version, OK: true, Node: s.cfg.Node, Sidecar: messages.SidecarPrimary, Text: fmt.Sprintf(format, args...),
	}
}

// announce does not fail what it tells of: that is done already.
func (s *Service) announce(ctx context.Context, t messages.EventType, text string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := s.events.Publish(ctx, messages.Event{
		V: messages.Version, ID: messages.NewMessageID(s.now()), Type: t, Cluster: s.cfg.Cluster, Node: s.cfg.Node, At: s.now().UTC(), Text: text,
	})
	if err != nil {
		s.log.Debug().Err(err).Str("event", string(t)).Msg("event not published")
	}
}
