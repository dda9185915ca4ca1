package primary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
)

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"zfs": zfstest.Zfs, "zpool": zfstest.Zpool})
}

// postgres is a PostgreSQL that is what the test says.
type postgres struct {
	fakeDatabase
	paths messages.Paths
	// before runs, if not nil, when backup mode begins, during when the snapshot is there.
	before    func()
	during    func()
	unbounded bool
}

func (p *postgres) Paths(context.Context) (messages.Paths, error) { return p.paths, nil }

func (p *postgres) StandbySettings(context.Context) (map[string]int, error) {
	return map[string]int{"max_connections": 10}, nil
}

func (p *postgres) WAL(context.Context) (messages.WALInfo, error) {
	return messages.WALInfo{SegmentSize: 16 << 20, Oldest: 1}, nil
}

func (p *postgres) Backup(ctx context.Context, label string, during func(context.Context) error) (messages.Backup, error) {
	if p.before != nil {
		p.before()
	}
	if err := during(ctx); err != nil {
		return messages.Backup{}, err
	}
	if p.during != nil {
		p.during()
	}
	return messages.Backup{StartLSN: 100, StopLSN: 200, Label: []byte(label)}, nil
}

func (p *postgres) Slots(context.Context) ([]messages.SlotState, error) { return nil, nil }

func (p *postgres) SlotsUnbounded(context.Context) (bool, error) { return p.unbounded, nil }

func (p *postgres) ReserveSlot(context.Context, string) (messages.SlotState, error) {
	return messages.SlotState{}, nil
}

func (p *postgres) DropSlot(context.Context, string) error { return nil }

func (p *postgres) Senders(context.Context) ([]messages.Sender, error) { return nil, nil }

// uploads remembers what was asked for.
type uploads struct {
	err     error
	joined  []messages.StreamRecord
	running []messages.StreamRecord
}

func (u *uploads) Join(ctx context.Context, rec messages.StreamRecord, _ messages.NodeName, _ messages.MessageID,
	open func(context.Context) (io.ReadCloser, error),
) (messages.StreamRecord, error) {
	if u.err != nil {
		return rec, u.err
	}
	r, err := open(ctx)
	if err != nil {
		return rec, err
	}
	_, err = io.Copy(io.Discard, r)
	u.joined = append(u.joined, rec)
	return rec, errors.Join(err, r.Close())
}

func (u *uploads) Sweep(context.Context, func() error) error { return nil }

func (u *uploads) Streams() []messages.StreamRecord { return u.running }

// announcer hears the world as the test says.
type announcer struct {
	mu     sync.Mutex
	nodes  []messages.NodeStatus
	status messages.NodeStatus
}

func (a *announcer) Publish(context.Context, messages.Event) error { return nil }

func (a *announcer) PutStatus(_ context.Context, s messages.NodeStatus) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = s
	return nil
}

func (a *announcer) Nodes(context.Context) ([]messages.NodeStatus, error) { return a.nodes, nil }

// mute is a ZFS whose properties cannot be set.
type mute struct{ ZFS }

func (mute) SetProperties(context.Context, messages.Dataset, map[string]string) error {
	return messages.ErrPermission
}

// node is a service with what surrounds it.
type node struct {
	*Service
	*zfstest.Env
	pg      *postgres
	leases  *fakeLeases
	uploads *uploads
	world   *announcer
	live    messages.Dataset
	clock   time.Time
	stop    func()
	ctx     func() context.Context
}

// newNode makes a node that is a standby, with nothing at its live dataset yet.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{
		Env: zfstest.Fake(t), pg: &postgres{}, leases: &fakeLeases{}, uploads: &uploads{}, world: &announcer{},
		clock: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
	}
	n.ctx = t.Context
	n.live = n.Root.Child("pg")
	n.pg.id = messages.Identity{
		SystemID: 1, Version: 170000, Role: messages.RoleStandby, LSN: 50, Timeline: messages.TimelineHistory{Current: 1},
	}
	n.pg.paths = messages.Paths{DataDir: "/srv/pg/17", WALDir: "/srv/pg/17/pg_wal"}
	cfg := Config{
		Cluster: "main", Node: "db2", Dataset: n.live, LeaseTTL: time.Second, PoolLimit: 90, KeepSnapshots: 2, KeepBookmarks: 1,
		StandbyExpiry: 24 * time.Hour, SlotExpiry: time.Hour, SlotXminExpiry: time.Minute,
	}
	n.Service = New(cfg, Deps{
		Database: n.pg, Slots: n.pg, ZFS: n.ZFS, Uploads: n.uploads, Leases: n.leases, Announce: n.world,
		Now: func() time.Time { return n.clock }, Log: zerolog.Nop(),
	})
	return n
}

// mount puts a tree at the live dataset: a clone, or an empty file system for "".
func (n *node) mount(t *testing.T, origin messages.SnapshotName) {
	t.Helper()
	props := map[string]string{"mountpoint": "/srv/pg", messages.PropCluster: "main"}
	var err error
	if origin == "" {
		err = n.ZFS.Create(t.Context(), n.live, props)
	} else {
		err = n.ZFS.Clone(t.Context(), origin, n.live, props)
	}
	if err = errors.Join(err, n.ZFS.Mount(t.Context(), n.live)); err != nil {
		t.Fatal(err)
	}
}

// received makes snapshots in the lineage, as passes do.
func (n *node) received(t *testing.T, rel messages.RelName, count int) []messages.SnapshotName {
	t.Helper()
	d := n.Root.Child(rel)
	if err := n.ZFS.Create(t.Context(), d, map[string]string{"mountpoint": "none", messages.PropCluster: "main"}); err != nil {
		t.Fatal(err)
	}
	var out []messages.SnapshotName
	for range count {
		n.Write(t, d, 1000)
		id := messages.NewSnapshotID(n.clock)
		if err := n.ZFS.SnapshotTree(t.Context(), d, id.ShortName(), nil); err != nil {
			t.Fatal(err)
		}
		out = append(out, d.Snapshot(id.ShortName()))
	}
	return out
}

func (n *node) history(t *testing.T, d messages.Dataset) messages.History {
	t.Helper()
	h, err := n.ZFS.Histories(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return h[d]
}

func (n *node) guid(t *testing.T, s messages.SnapshotName) messages.GUID {
	t.Helper()
	for _, v := range n.history(t, s.Dataset()) {
		if v.Name == s {
			return v.GUID
		}
	}
	t.Fatalf("there is no %s", s)
	return 0
}

// role is what PostgreSQL is from now on.
func (n *node) role(r messages.Role, timeline messages.Timeline) {
	set(&n.pg.mu, func() { n.pg.id.Role, n.pg.id.Timeline.Current = r, timeline })
}

// run runs the service until the test ends, or stop is called.
func (n *node) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(n.stop)
}

// eventually waits until the node publishes, or does not.
func (n *node) eventually(t *testing.T, publishes bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		open, changed := n.gate.state()
		if open == publishes {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("waited a minute in vain: publishes %v", publishes)
		}
	}
}

// publish makes it a primary that publishes, without the loops of Run.
func (n *node) publish(t *testing.T) {
	t.Helper()
	n.role(messages.RolePrimary, 1)
	n.duty.refresh(t.Context())
	if err := n.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
}
