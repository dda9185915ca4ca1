package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/primary"
	"github.com/pgresync/pgresync/internal/secondary"
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

// world is what the nodes have in common: NATS, as it were.
type world struct {
	mu       sync.Mutex
	nodes    []*node
	lease    messages.Lease
	revision uint64
	streams  map[messages.StreamID][]byte
	status   map[string]messages.NodeStatus
	events   []messages.Event
}

// node is one host with both sidecars.
type node struct {
	name    messages.NodeName
	w       *world
	zfs     *zfstest.Env
	live    messages.Dataset
	lineage messages.Dataset
	pg      *postgres
	pub     *primary.Service
	sec     *secondary.Service
}

func newWorld(t *testing.T, rejoin plan.RejoinPolicy, names ...messages.NodeName) *world {
	t.Helper()
	if *rounds <= 0 {
		t.Skip("every step is a process, which takes minutes on a busy machine; make sim asks for it")
	}
	w := &world{streams: map[messages.StreamID][]byte{}, status: map[string]messages.NodeStatus{}}
	for _, name := range names {
		n := &node{name: name, w: w, zfs: zfstest.Fake(t)}
		n.live, n.lineage = n.zfs.Root.Child("pg"), n.zfs.Root.Child("l")
		n.pg = &postgres{world: w, name: name, role: messages.RoleStandby, slots: map[string]messages.SlotState{}}
		log := zerolog.New(zerolog.NewTestWriter(t)).With().Str("node", string(name)).Logger().Level(zerolog.InfoLevel)
		n.pub = primary.New(primary.Config{
			Cluster: "main", Node: name, Dataset: n.live, Host: string(name), Port: 5432, LeaseTTL: 5 * time.Second, PoolLimit: 90, Gather: 5 * time.Second,
			KeepSnapshots: 2, KeepBookmarks: 20, StandbyExpiry: time.Hour, SlotExpiry: time.Hour, SlotXminExpiry: time.Hour,
		}, primary.Deps{
			Database: n.pg, Slots: n.pg, ZFS: n.zfs.ZFS, Uploads: n, Leases: n, Announce: n, Now: time.Now,
			Log: log.With().Str("sidecar", "primary").Logger(),
		})
		n.sec = secondary.New(secondary.Config{
			Cluster: "main", Node: name, Dataset: n.live, Lineage: n.lineage, StageDir: "/run/stage", AutoResync: true,
			CheckInterval: time.Second, ProveTimeout: time.Minute, KeepPasses: 2, KeepBases: 20, BudgetPerDay: 100,
			Diagnosis: plan.Policy{RejoinPromoted: rejoin}, Converge: plan.ConvergePolicy{MaxPasses: 2, Short: time.Minute},
		}, secondary.Deps{
			ZFS: n.zfs.ZFS, Database: n.pg, Follower: n.pg, Postgres: n.pg, Processes: nobody{}, Hooks: nobody{}, Primary: client{n}, Downloads: n, Announce: n, Now: time.Now,
			Log: log.With().Str("sidecar", "secondary").Logger(),
		})
		w.nodes = append(w.nodes, n)
	}
	return w
}

// nobody is in the way, and nobody wants to be told.
type nobody struct{}

func (nobody) UsersOf([]string) []string { return nil }

func (nobody) Run(context.Context, secondary.Hook, map[string]string) error { return nil }

// first makes the first node a primary that is no standby's copy.
func (w *world) first(t *testing.T) *node {
	t.Helper()
	n := w.nodes[0]
	if err := errors.Join(
		n.zfs.ZFS.Create(t.Context(), n.live, map[string]string{"mountpoint": "/srv/pg"}),
		n.zfs.ZFS.Mount(t.Context(), n.live),
	); err != nil {
		t.Fatal(err)
	}
	n.pg.running, n.pg.present, n.pg.role = true, true, messages.RolePrimary
	n.pg.line, n.pg.lsn = messages.TimelineHistory{Current: 1}, 100
	return n
}

// run runs all sidecars until the test ends.
func (w *world) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, n := range w.nodes {
		for _, run := range []func(context.Context) error{n.pub.Run, n.sec.Run} {
			wg.Go(func() {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", n.name, err)
				}
			})
		}
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// eventually polls; what names what is waited for.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// The lease.

func (n *node) Campaign(_ context.Context, l messages.Lease) (uint64, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	h := n.w.lease
	if h.Node != "" && l.Timeline <= h.Timeline && (l.Node != h.Node || l.Timeline < h.Timeline) {
		return 0, fmt.Errorf("%w: node %s holds it on timeline %s", messages.ErrRefused, h.Node, h.Timeline)
	}
	n.w.lease = l
	n.w.revision++
	return n.w.revision, nil
}

func (n *node) Renew(_ context.Context, rev uint64, l messages.Lease) (uint64, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if rev != n.w.revision {
		return 0, messages.ErrLeaseLost
	}
	n.w.lease = l
	n.w.revision++
	return n.w.revision, nil
}

func (n *node) Resign(_ context.Context, rev uint64) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if rev == n.w.revision {
		n.w.lease = messages.Lease{}
	}
	return nil
}

// The data plane: a stream is its bytes.

func (n *node) Join(ctx context.Context, rec messages.StreamRecord, _ messages.NodeName, _ messages.MessageID,
	open func(context.Context) (io.ReadCloser, error),
) (messages.StreamRecord, error) {
	r, err := open(ctx)
	if err != nil {
		return rec, err
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return rec, err
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.streams[rec.Stream] = b
	return rec, nil
}

func (n *node) Sweep(context.Context, func() error) error { return nil }

func (n *node) Streams() []messages.StreamRecord { return nil }

func (n *node) Read(ctx context.Context, rec messages.StreamRecord, _ messages.NodeName, progress func(uint64),
	sink func(context.Context, io.Reader) error,
) error {
	n.w.mu.Lock()
	b := n.w.streams[rec.Stream]
	n.w.mu.Unlock()
	progress(uint64(len(b)))
	return sink(ctx, bytes.NewReader(b))
}

// Events and presence.

func (n *node) Publish(_ context.Context, e messages.Event) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.events = append(n.w.events, e)
	return nil
}

func (n *node) PutStatus(_ context.Context, s messages.NodeStatus) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.status[messages.NodeKey(s.Node, s.Sidecar)] = s
	return nil
}

func (n *node) Nodes(context.Context) ([]messages.NodeStatus, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return slices.Collect(maps.Values(n.w.status)), nil
}

// client asks the holder of the lease.
type client struct{ n *node }

func (c client) holder() (*primary.Service, error) {
	c.n.w.mu.Lock()
	defer c.n.w.mu.Unlock()
	for _, n := range c.n.w.nodes {
		if n.name == c.n.w.lease.Node {
			return n.pub, nil
		}
	}
	return nil, fmt.Errorf("no publisher: %w", messages.ErrUnavailable)
}

func (c client) Lease(context.Context) (messages.Lease, uint64, error) {
	c.n.w.mu.Lock()
	defer c.n.w.mu.Unlock()
	return c.n.w.lease, c.n.w.revision, nil
}

func (c client) Facts(ctx context.Context) (*messages.PrimaryFacts, error) {
	p, err := c.holder()
	if err != nil {
		return nil, err
	}
	return p.Facts(ctx, messages.FactsRequest{Node: c.n.name})
}

func (c client) Snapshot(ctx context.Context, minStart messages.LSN, maxAge time.Duration) (*messages.Manifest, error) {
	p, err := c.holder()
	if err != nil {
		return nil, err
	}
	return p.Snapshot(ctx, messages.SnapshotRequest{Node: c.n.name, MinStartLSN: minStart, MaxAgeMS: maxAge.Milliseconds()})
}

func (c client) Slot(ctx context.Context, id messages.ResyncID, action messages.SlotAction) (messages.SlotState, error) {
	p, err := c.holder()
	if err != nil {
		return messages.SlotState{}, err
	}
	r, err := p.Slot(ctx, messages.SlotRequest{Node: c.n.name, Resync: id, Action: action})
	if err != nil {
		return messages.SlotState{}, err
	}
	return r.Slot, nil
}

func (c client) Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	p, err := c.holder()
	if err != nil {
		return nil, err
	}
	return p.Stream(ctx, r)
}
