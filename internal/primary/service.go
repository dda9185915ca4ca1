package primary

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgresync/pgresync/messages"
)

// Deps are the adapters that the service works with.
type Deps struct {
	Database Database
	Slots    Slots
	Logs     Logs
	ZFS      ZFS
	Uploads  Uploads
	// Seals may be nil: streams are not encrypted then.
	Seals    Sealer
	Leases   Leases
	Announce Announcer
	Now      Clock
	Log      zerolog.Logger
}

// Service is the publisher. Its exported methods answer the standbys; they are
// safe for concurrent use while Run runs.
type Service struct {
	cfg     Config
	db      Database
	slots   Slots
	logs    Logs
	zfs     ZFS
	uploads Uploads
	seals   Sealer
	events  Announcer
	duty    *duty
	// gate is open, and turned has an entry when terms should look at duty.
	gate     *gate
	turned   chan struct{}
	cat      *catalogue
	standbys *standbys
	snaps    *snapshotter
	pause    *pause
	now      Clock
	log      zerolog.Logger

	// notBegun is why the term has not begun, nil when it has, or nothing failed yet.
	notBegun atomic.Pointer[string]
	// uninherited is whether some of what the live tree descends from is not known as a
	// base yet.
	uninherited atomic.Bool
	// unbounded is whether slots may retain WAL without limit.
	unbounded atomic.Bool
}

// New wires the service; nothing is started.
func New(cfg Config, d Deps) *Service {
	s := &Service{cfg: cfg, db: d.Database, slots: d.Slots, logs: d.Logs, zfs: d.ZFS, uploads: d.Uploads, seals: d.Seals, events: d.Announce, now: d.Now, log: d.Log}
	if s.seals == nil {
		s.seals = plain{}
	}
	s.duty = &duty{cfg: cfg, db: d.Database, lease: d.Leases, now: d.Now, log: d.Log}
	s.gate, s.turned = newGate(), make(chan struct{}, 1)
	s.cat = &catalogue{cfg: cfg, zfs: d.ZFS, log: d.Log}
	s.standbys = &standbys{cfg: cfg, zfs: d.ZFS, now: d.Now, log: d.Log}
	s.pause = &pause{zfs: d.ZFS, dataset: cfg.Dataset}
	s.snaps = &snapshotter{
		paused: s.pause.on,
		cfg:    cfg, cat: s.cat, events: d.Announce, publishing: s.gate, prune: s.prune, now: d.Now, log: d.Log, asked: make(chan asker),
		bracket: &bracket{cfg: cfg, db: d.Database, zfs: d.ZFS, on: s.on, now: d.Now},
	}
	s.cat.inWork = s.snaps.bracket.inWork
	return s
}

// Run publishes until ctx is done, or something fails that a restart may cure.
func (s *Service) Run(ctx context.Context) error {
	if err := s.pause.load(ctx); err != nil {
		return err
	}
	defer s.gate.set(false)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.duty.run(ctx, func(on bool) { s.turn(ctx, on) }) })
	g.Go(func() error { return s.terms(ctx) })
	g.Go(func() error { return s.gate.while(ctx, s.upkeep) })
	g.Go(func() error { return s.snaps.run(ctx) })
	g.Go(func() error { return s.snaps.schedule(ctx) })
	g.Go(func() error { return s.present(ctx) })
	g.Go(func() error { return s.sweep(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Publishes is whether this node is the publisher now.
func (s *Service) Publishes() bool {
	_, err := s.on()
	return err == nil
}

// Trigger obeys a snapshot trigger. It returns when the snapshot is complete.
func (s *Service) Trigger(ctx context.Context, target messages.TriggerTarget, t messages.Trigger, _ time.Time) error {
	if !target.Snapshot {
		return nil
	}
	s.log.Info().Str("by", t.By).Str("because", t.Reason).Msg("snapshot triggered")
	_, err := s.snaps.ask(ctx, 0, 0)
	return err
}

func (s *Service) roleChanged(ctx context.Context, on bool) {
	text, role := "stopped publishing", s.duty.currentRole()
	if on {
		text = "publishes now"
	}
	s.log.Info().Str("role", string(role)).Msg(text)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := s.events.Publish(ctx, messages.Event{
		V: messages.Version, ID: messages.NewMessageID(s.now()), Type: messages.EventRoleChanged, Cluster: s.cfg.Cluster,
		Node: s.cfg.Node, At: s.now().UTC(), Role: role, Text: fmt.Sprintf("node %s %s", s.cfg.Node, text),
	})
	if err != nil {
		s.log.Debug().Err(err).Msg("role change not announced")
	}
}

// present keeps the presence record alive; it expires by itself.
func (s *Service) present(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		s.putStatus(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Service) putStatus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.events.PutStatus(ctx, s.status(ctx)); err != nil {
		s.log.Debug().Err(err).Msg("status not published")
	}
}

func (s *Service) status(ctx context.Context) messages.NodeStatus {
	st := messages.NodeStatus{
		V: messages.Version, Cluster: s.cfg.Cluster, Node: s.cfg.Node, Sidecar: messages.SidecarPrimary, Version: s.cfg.Version,
		At: s.now().UTC(), Role: messages.RoleDown, Paused: s.pause.on(),
	}
	if id, err := s.db.Identity(ctx); err == nil {
		st.Role, st.Identity = id.Role, &id
	}
	st.Evidence = s.evidence()
	if _, err := s.on(); err == nil {
		if m := s.cat.newest(); m != nil {
			st.Base = m.ID
		}
	}
	return st
}

// evidence says why this node does not publish, or what is wrong while it does.
func (s *Service) evidence() string {
	switch _, err := s.on(); {
	case err != nil:
		return err.Error()
	case s.unbounded.Load():
		return unboundedSlots
	}
	return ""
}
