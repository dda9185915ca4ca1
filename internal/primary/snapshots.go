package primary

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// snapshotter takes one bracket at a time; whoever asks while one is being
// waited for shares it, so that N standbys cause one checkpoint and one stream.
type snapshotter struct {
	cfg     Config
	bracket *bracket
	cat     *catalogue
	events  Announcer
	// publishing is open while this node publishes.
	publishing *gate
	prune      func(ctx context.Context) error
	paused     func() *messages.Pause
	now        Clock
	log        zerolog.Logger
	asked      chan asker
}

type asker struct {
	minStart messages.LSN
	maxAge   time.Duration
	answer   chan<- answer
}

type answer struct {
	m   *messages.Manifest
	err error
}

// ask returns a complete snapshot that starts at minStart or later and is not
// older than maxAge; one that exists serves, unless maxAge is 0 and minStart too.
func (s *snapshotter) ask(ctx context.Context, minStart messages.LSN, maxAge time.Duration) (*messages.Manifest, error) {
	if m := s.serving(minStart, maxAge); m != nil {
		return m, nil
	}
	// Buffered, so that the taker never waits for an asker that went away.
	ch := make(chan answer, 1)
	select {
	case s.asked <- asker{minStart, maxAge, ch}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a snapshot: %w", ctx.Err())
	}
	select {
	case a := <-ch:
		return a.m, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a snapshot: %w", ctx.Err())
	}
}

// serving is a snapshot that is there and will do, nil when there is none.
func (s *snapshotter) serving(minStart messages.LSN, maxAge time.Duration) *messages.Manifest {
	if m := s.cat.newest(); m != nil && m.StartLSN >= minStart && s.fresh(m, minStart, maxAge) {
		return m
	}
	return nil
}

// fresh: with a start position any age will do, for then WAL since it is kept. Of one
// that is from the future, by a clock that was set back, the age is not known.
func (s *snapshotter) fresh(m *messages.Manifest, minStart messages.LSN, maxAge time.Duration) bool {
	if maxAge > 0 {
		old := age(m, s.now())
		return 0 <= old && old <= maxAge
	}
	return minStart > 0
}

// run takes snapshots until ctx is done.
func (s *snapshotter) run(ctx context.Context) error {
	for {
		var waiting []asker
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-s.asked:
			// One that was asked for during a bracket may be content with what came of it.
			if m := s.serving(a.minStart, a.maxAge); m != nil {
				a.answer <- answer{m, nil}
				continue
			}
			waiting = s.gather(ctx, a)
		}
		m, err := s.take(ctx)
		for _, w := range waiting {
			w.answer <- answer{m, err}
		}
	}
}

// gather waits a moment for others who want a snapshot too.
func (s *snapshotter) gather(ctx context.Context, first asker) []asker {
	waiting := []asker{first}
	t := time.NewTimer(s.cfg.Gather)
	defer t.Stop()
	for {
		select {
		case a := <-s.asked:
			waiting = append(waiting, a)
		case <-t.C:
			return waiting
		case <-ctx.Done():
			return waiting
		}
	}
}

func (s *snapshotter) take(ctx context.Context) (*messages.Manifest, error) {
	began := s.now()
	m, err := s.bracket.take(ctx)
	if err == nil {
		s.cat.add(m)
	}
	s.bracket.working.Store(messages.SnapshotID(""))
	if err != nil {
		s.log.Error().Err(err).Msg("snapshot failed")
		return nil, err
	}
	if err := s.cat.refresh(ctx); err != nil {
		return nil, err
	}
	s.log.Info().Str("snapshot", string(m.ID)).Stringer("start_lsn", m.StartLSN).Stringer("stop_lsn", m.StopLSN).
		Dur("took_ms", s.now().Sub(began)).Msg("snapshot ready")
	s.announce(ctx, m)
	if err := s.prune(ctx); err != nil {
		s.log.Warn().Err(err).Msg("prune snapshots")
	}
	return m, nil
}

// announce does not fail the snapshot: it is complete, and facts name it too.
func (s *snapshotter) announce(ctx context.Context, m *messages.Manifest) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := s.events.Publish(ctx, messages.Event{
		V: messages.Version, ID: messages.MessageID(m.ID), Type: messages.EventSnapshotReady, Cluster: m.Cluster, Node: m.Node,
		At: m.CreatedAt, Snapshot: m,
		Text: fmt.Sprintf("snapshot %s is ready, WAL from %s", m.ID, m.StartLSN),
	})
	if err != nil {
		s.log.Warn().Err(err).Str("snapshot", string(m.ID)).Msg("snapshot not announced")
	}
}

// schedule takes a snapshot every interval, unless nothing was written since the
// last one, and one when the node begins to publish without any: until there is
// one, the standbys do not know how this node's datasets are laid out.
func (s *snapshotter) schedule(ctx context.Context) error {
	if s.cfg.Interval <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.publishing.while(ctx, s.scheduled)
}

func (s *snapshotter) scheduled(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	due := s.cat.newest() == nil
	for {
		if due && s.paused() == nil && !s.unchanged(ctx) {
			// The failure is logged by take; the next tick is the retry.
			_, _ = s.ask(ctx, 0, 0)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			due = true
		}
	}
}

func (s *snapshotter) unchanged(ctx context.Context) bool {
	if s.cat.newest() == nil {
		return false
	}
	tree, err := s.bracket.zfs.List(ctx, s.cfg.Dataset)
	if err != nil {
		return false
	}
	for _, d := range tree {
		if d.Written > 0 {
			return false
		}
	}
	return true
}
