package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/internal/secondary"
	"github.com/pgresync/pgresync/messages"
)

const system = 42

// postgres is one node's PostgreSQL. A standby that can stream is level with its
// primary at once.
type postgres struct {
	world *world
	name  messages.NodeName

	// world.mu guards what follows.
	running  bool
	present  bool // there is a data directory
	role     messages.Role
	line     messages.TimelineHistory
	lsn      messages.LSN
	upstream string
	slot     string
	slots    map[string]messages.SlotState
	next     *postgres // what was prepared aside
}

func (p *postgres) locked(f func() error) error {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if !p.running {
		return fmt.Errorf("PostgreSQL on %s: %w", p.name, messages.ErrUnavailable)
	}
	return f()
}

// primary is whom the standby streams from, nil when it cannot. The caller holds
// the lock.
func (p *postgres) primary() *postgres {
	for _, n := range p.world.nodes {
		o := n.pg
		_, slot := o.slots[p.slot]
		if o.running && o.role == messages.RolePrimary && strings.Contains(p.upstream, "host="+string(o.name)+" ") && slot &&
			o.line.Contains(p.line.Current, p.lsn) {
			return o
		}
	}
	return nil
}

// catchUp moves a standby on.
func (p *postgres) catchUp() *postgres {
	if p.role == messages.RolePrimary {
		return nil
	}
	o := p.primary()
	if o != nil {
		p.line, p.lsn = o.line, o.lsn
	}
	return o
}

func (p *postgres) Identity(context.Context) (id messages.Identity, err error) {
	err = p.locked(func() error {
		p.catchUp()
		id = messages.Identity{SystemID: system, Version: 170000, Role: p.role, Timeline: p.line, LSN: p.lsn}
		return nil
	})
	return id, err
}

// Configured: no parameter of this world is too low.
func (p *postgres) Configured(context.Context, messages.StandbySetup, []string) (map[string]int, error) {
	return nil, nil
}

func (p *postgres) Receiver(context.Context) (r messages.Receiver, err error) {
	err = p.locked(func() error {
		r = messages.Receiver{InRecovery: p.role != messages.RolePrimary, Timeline: p.line.Current, ReplayLSN: p.lsn, ReceiveLSN: p.lsn}
		if o := p.catchUp(); o != nil {
			r.Streaming, r.SenderHost, r.SenderPort, r.SlotName = true, string(o.name), 5432, p.slot
			r.Timeline, r.ReplayLSN, r.ReceiveLSN = p.line.Current, p.lsn, p.lsn
		}
		return nil
	})
	return r, err
}

func (p *postgres) Paths(context.Context) (messages.Paths, error) {
	return messages.Paths{DataDir: "/srv/pg/17", WALDir: "/srv/pg/17/pg_wal"}, nil
}

func (p *postgres) StandbySettings(context.Context) (map[string]int, error) {
	return map[string]int{"max_connections": 10}, nil
}

func (p *postgres) WAL(context.Context) (messages.WALInfo, error) {
	return messages.WALInfo{SegmentSize: 16 << 20}, nil
}

func (p *postgres) Backup(ctx context.Context, label string, during func(context.Context) error) (b messages.Backup, err error) {
	err = p.locked(func() error { p.lsn++; b.StartLSN = p.lsn; return nil })
	if err = errors.Join(err, during(ctx)); err != nil {
		return b, err
	}
	err = p.locked(func() error { p.lsn++; b.StopLSN = p.lsn; return nil })
	b.Label = []byte(label)
	return b, err
}

func (p *postgres) Slots(context.Context) (out []messages.SlotState, err error) {
	err = p.locked(func() error {
		for _, s := range p.slots {
			s.Active = slices.ContainsFunc(p.world.nodes, func(n *node) bool {
				return n.pg.running && n.pg.slot == s.Name && n.pg.catchUp() == p
			})
			out = append(out, s)
		}
		return nil
	})
	return out, err
}

func (p *postgres) SlotUses(ctx context.Context) ([]messages.SlotUse, error) {
	slots, err := p.Slots(ctx)
	var out []messages.SlotUse
	for _, s := range slots {
		out = append(out, messages.SlotUse{SlotState: s})
	}
	return out, err
}

func (p *postgres) SlotsUnbounded(context.Context) (bool, error) { return false, nil }

func (p *postgres) ReserveSlot(_ context.Context, name string) (s messages.SlotState, err error) {
	err = p.locked(func() error {
		s = messages.SlotState{Name: name, RestartLSN: p.lsn, WALStatus: messages.WALReserved}
		p.slots[name] = s
		return nil
	})
	return s, err
}

func (p *postgres) DropSlot(_ context.Context, name string) error {
	return p.locked(func() error { delete(p.slots, name); return nil })
}

func (p *postgres) Senders(ctx context.Context) ([]messages.Sender, error) {
	slots, err := p.Slots(ctx)
	var out []messages.Sender
	for _, s := range slots {
		if s.Active {
			out = append(out, messages.Sender{SlotName: s.Name, State: "streaming"})
		}
	}
	return out, err
}

func (p *postgres) Upstream(context.Context) (c string, err error) {
	err = p.locked(func() error { c = p.upstream; return nil })
	return c, err
}

func (p *postgres) Follow(_ context.Context, conninfo string) error {
	return p.locked(func() error { p.upstream = conninfo; return nil })
}

// The control of the server.

func (p *postgres) Server(string) (secondary.Server, error)              { return server{p}, nil }
func (p *postgres) Major(context.Context) (int, error)                   { return 17, nil }
func (p *postgres) Owner() (uid, gid int, err error)                     { return 0, 0, nil }
func (p *postgres) Keep(context.Context, string, string, []string) error { return nil }
func (p *postgres) lock() (unlock func())                                { p.world.mu.Lock(); return p.world.mu.Unlock }

// Prepare remembers what the copy will be; it takes effect with the next start.
func (p *postgres) Prepare(_ context.Context, s messages.StandbySetup) error {
	defer p.lock()()
	p.next = &postgres{upstream: s.PrimaryConninfo, slot: s.SlotName, line: messages.TimelineHistory{Current: s.Timeline}}
	// The copy is as far as the snapshot; nobody has pruned the log since.
	for _, n := range p.world.nodes {
		if n.pg.role == messages.RolePrimary && n.pg.line.Current == s.Timeline {
			p.next.line, p.next.lsn = n.pg.line, n.pg.lsn
		}
	}
	return nil
}

type server struct{ p *postgres }

func (s server) Start(context.Context) error {
	defer s.p.lock()()
	if n := s.p.next; n != nil {
		s.p.upstream, s.p.slot, s.p.line, s.p.lsn, s.p.next = n.upstream, n.slot, n.line, n.lsn, nil
		s.p.slots = map[string]messages.SlotState{}
		s.p.role, s.p.present = messages.RoleStandby, true
	}
	s.p.running = true
	return nil
}

func (s server) Stop(context.Context, bool) error {
	defer s.p.lock()()
	s.p.running = false
	return nil
}

func (s server) Running(context.Context) (bool, error) {
	defer s.p.lock()()
	return s.p.running, nil
}

func (s server) Loggable(context.Context) error { return nil }

func (s server) IsStandby(context.Context) (bool, error) {
	defer s.p.lock()()
	return s.p.role != messages.RolePrimary, nil
}

func (s server) ControlData(context.Context) (messages.ControlData, error) {
	defer s.p.lock()()
	if !s.p.present {
		return messages.ControlData{}, messages.ErrNotFound
	}
	state := "in archive recovery"
	if s.p.role == messages.RolePrimary {
		state = "in production"
	}
	return messages.ControlData{SystemID: system, State: state, Timeline: s.p.line.Current, CheckpointLSN: s.p.lsn}, nil
}
