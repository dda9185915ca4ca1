package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// fleet is a cluster whose sidecars are fakes behind the real bus: db1 publishes,
// db2 streams, db3 waits for a disk. Its presence, lease, events and one stored
// stream are real.
type fleet struct {
	cluster messages.ClusterName
	links   []*bus.Bus
	stream  messages.StreamRecord
	stop    context.CancelFunc
	work    sync.WaitGroup

	mu    sync.Mutex
	nodes map[messages.NodeName]*fakeNode
}

// fakeNode answers like a secondary sidecar, or a primary one for db1. Each
// status request while a resync runs is a step of it.
type fakeNode struct {
	link   *bus.Bus
	status messages.NodeStatus
	script []messages.Phase
	resync messages.ResyncID
	id     messages.Identity
}

const (
	fakePart = 64 << 10
	fakeData = 3*fakePart + 100
)

func startFleet(url string, cluster messages.ClusterName) (f *fleet, err error) {
	ctx, stop := context.WithCancel(context.Background())
	f = &fleet{cluster: cluster, stop: stop, nodes: map[messages.NodeName]*fakeNode{}}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for _, n := range []struct {
		name    messages.NodeName
		sidecar string
	}{{"db1", "primary"}, {"db2", "secondary"}, {"db3", "secondary"}} {
		if err := f.join(ctx, url, n.name, n.sidecar); err != nil {
			return f, err
		}
	}
	db1 := f.nodes["db1"].link
	if _, err := db1.Campaign(ctx, messages.Lease{
		V: 1, Cluster: cluster, Node: "db1", SystemID: 7, Timeline: 2, LSN: 0x3000000, Host: "db1.example", Port: 5432, At: time.Now().UTC(),
	}); err != nil {
		return f, err
	}
	return f, errors.Join(f.upload(ctx), f.happened(ctx, db1, "db9", messages.EventRoleChanged, "node db9 stopped publishing"))
}

func (f *fleet) join(ctx context.Context, url string, name messages.NodeName, sidecar string) error {
	link, err := bus.Connect(ctx, bus.Config{Cluster: f.cluster, Node: name, Sidecar: sidecar, Version: "1.2.3", URLs: []string{url}, Provision: true})
	if err != nil {
		return err
	}
	f.links = append(f.links, link)
	if err := link.Provision(ctx); err != nil {
		return err
	}
	n := &fakeNode{link: link, id: messages.Identity{
		SystemID: 7, Version: 170004, Role: messages.RoleStandby, Timeline: messages.TimelineHistory{Current: 2}, LSN: 0x2F00000,
	}}
	n.status = messages.NodeStatus{
		V: 1, Cluster: f.cluster, Node: name, Sidecar: sidecar, Version: "1.2.3", At: time.Now().UTC(), Role: messages.RoleStandby, Identity: &n.id,
		Phase: messages.PhaseIdle, Verdict: messages.VerdictHealthy, Reason: messages.ReasonStreaming, Evidence: "a wal receiver streams",
		Base: messages.NewSnapshotID(time.Now().Add(-12 * time.Minute)),
	}
	if sidecar == "primary" {
		n.id.Role, n.id.LSN = messages.RolePrimary, 0x3000000
		n.status.Role, n.status.Phase, n.status.Verdict, n.status.Reason, n.status.Evidence = messages.RolePrimary, "", "", "", ""
	}
	f.nodes[name] = n
	f.work.Go(func() { _ = link.ServeOperator(ctx, f.handlers(ctx, n)) })
	return link.PutStatus(ctx, n.status)
}

func (f *fleet) close() {
	f.stop()
	f.work.Wait()
	for _, l := range f.links {
		l.Close()
	}
}

func (f *fleet) happened(ctx context.Context, link *bus.Bus, node messages.NodeName, what messages.EventType, text string, change ...func(*messages.Event)) error {
	e := messages.Event{V: 1, ID: messages.NewMessageID(time.Now()), Type: what, Cluster: f.cluster, Node: node, At: time.Now().UTC(), Text: text}
	for _, c := range change {
		c(&e)
	}
	return link.Publish(ctx, e)
}

// upload stores a stream, complete and unread.
func (f *fleet) upload(ctx context.Context) error {
	store, err := stream.NewStore(f.nodes["db1"].link.JetStream(), stream.Config{
		Cluster: f.cluster, PartSize: fakePart, ChunkSize: 8 << 10, Window: 16 * fakePart, Provision: true, Linger: time.Hour,
	})
	if err != nil {
		return err
	}
	if err := store.Provision(ctx); err != nil {
		return err
	}
	hub := stream.NewHub(store)
	f.work.Go(func() { _ = hub.Run(ctx) })
	f.stream, err = hub.Join(ctx, stream.Spec{
		Stream: messages.NewStreamID(2, 1, messages.FlagsPlain, ""), Node: "db1", Dataset: "ts fast", To: 2, From: 1, Flags: messages.FlagsPlain, Estimate: fakeData,
	}, "db2", func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(bytes.Repeat([]byte("x"), fakeData))), nil
	})
	if err != nil {
		return err
	}
	return await(ctx, func() bool {
		s := hub.Streams()
		if len(s) == 1 {
			f.stream = s[0]
		}
		return len(s) == 1 && s[0].State == messages.StreamComplete
	})
}

func await(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// locked makes a handler whose node nobody else uses meanwhile.
func (f *fleet) locked(n *fakeNode, h func(r messages.OperatorRequest, reply *messages.OperatorReply) error) bus.OperatorHandler {
	return func(_ context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		reply := &messages.OperatorReply{V: 1, OK: true, Node: n.status.Node, Sidecar: n.status.Sidecar, Text: "done"}
		if err := h(r, reply); err != nil {
			return nil, err
		}
		return reply, nil
	}
}

func (f *fleet) handlers(ctx context.Context, n *fakeNode) map[messages.OperatorVerb]bus.OperatorHandler {
	return map[messages.OperatorVerb]bus.OperatorHandler{
		messages.VerbStatus: f.locked(n, func(_ messages.OperatorRequest, reply *messages.OperatorReply) error {
			n.step()
			st := n.status
			reply.Status = &st
			return nil
		}),
		messages.VerbSnapshot: f.locked(n, func(_ messages.OperatorRequest, reply *messages.OperatorReply) error {
			reply.Snapshot = messages.NewSnapshotID(time.Now())
			reply.Text = "snapshot is ready"
			return nil
		}),
		messages.VerbStreams: f.locked(n, func(_ messages.OperatorRequest, reply *messages.OperatorReply) error {
			reply.Streams = []messages.StreamRecord{f.stream}
			return nil
		}),
		messages.VerbPause: f.locked(n, func(r messages.OperatorRequest, reply *messages.OperatorReply) error {
			n.status.Paused = &messages.Pause{By: r.By, Reason: r.Reason, At: time.Now().UTC()}
			reply.Text = fmt.Sprintf("%s sidecar of %s is paused: %s", n.status.Sidecar, n.status.Node, r.Reason)
			return nil
		}),
		messages.VerbResume: f.locked(n, func(_ messages.OperatorRequest, reply *messages.OperatorReply) error {
			n.status.Paused = nil
			reply.Text = fmt.Sprintf("%s sidecar of %s goes on", n.status.Sidecar, n.status.Node)
			return nil
		}),
		messages.VerbCleanup: f.locked(n, func(r messages.OperatorRequest, reply *messages.OperatorReply) error {
			reply.Text = "1 thing removed"
			if r.DryRun {
				reply.Text = "1 thing would be removed"
			}
			reply.Cleanup = &messages.CleanupReport{
				DryRun: r.DryRun, Kept: []messages.Dataset{"tank/pg.pgresync-diverged-1"},
				Items: []messages.CleanupItem{{Kind: "dataset", Name: "tank/pg.pgresync-next", Why: "left by a resync"}},
			}
			return nil
		}),
		messages.VerbResync: f.locked(n, func(r messages.OperatorRequest, reply *messages.OperatorReply) error {
			return f.resync(ctx, n, r, reply)
		}),
	}
}

func (f *fleet) resync(ctx context.Context, n *fakeNode, r messages.OperatorRequest, reply *messages.OperatorReply) error {
	if r.DryRun {
		reply.Text = "a resync would be an increment"
		reply.Plan = &messages.ResyncPlan{
			Publisher: "db1", Target: n.status.Base, Kind: messages.PassIncrement, Bytes: 5 << 20, Since: 1 << 20, Available: 1 << 40,
			Steps: []messages.PlanStep{{Kind: messages.PassIncrement, Base: n.status.Base, Bytes: 5 << 20}},
		}
		if n.status.Paused != nil {
			reply.Plan.Obstacles = []string{"the node is paused"}
		}
		return nil
	}
	if n.status.Paused != nil && !r.Resume {
		return fmt.Errorf("resync node %s: %w: it is paused %s", n.status.Node, messages.ErrRefused, n.status.Paused)
	}
	n.status.Paused = nil
	n.resync = messages.NewResyncID(time.Now())
	if n.script == nil {
		n.script = []messages.Phase{messages.PhasePlanning, messages.PhaseReceiving, messages.PhaseProving, messages.PhaseIdle}
	}
	n.status.Phase = messages.PhaseRequested
	reply.Resync, reply.Text = n.resync, fmt.Sprintf("node %s: resync begins (full %v, %s)", n.status.Node, r.Full, r.Reason)
	return f.happened(ctx, n.link, n.status.Node, messages.EventRejoined, fmt.Sprintf("node %s streams again", n.status.Node), func(e *messages.Event) {
		e.Resync = &messages.ResyncReport{
			ID: n.resync, Phase: messages.PhaseIdle, Reason: messages.ReasonRequested, StartedAt: time.Now().UTC(), TotalMillis: 61_000, DownMillis: 900,
			Passes: []messages.PassReport{{Snapshot: n.status.Base, Kind: messages.PassIncrement, Bytes: 5 << 20, Millis: 2000}},
		}
	})
}

// step is one more phase of a resync that runs.
func (n *fakeNode) step() {
	if n.resync == "" || len(n.script) == 0 {
		return
	}
	n.status.Phase, n.script = n.script[0], n.script[1:]
	n.status.Transfer = nil
	n.status.Last = &messages.ResyncReport{
		ID: n.resync, Phase: n.status.Phase, Reason: messages.ReasonRequested, StartedAt: time.Now().UTC(), TotalMillis: 61_000, DownMillis: 900,
		Passes: []messages.PassReport{{Snapshot: n.status.Base, Kind: messages.PassIncrement, Bytes: 5 << 20, Millis: 2000}},
	}
	switch n.status.Phase { //nolint:exhaustive // the others say no more
	case messages.PhaseReceiving:
		n.status.Transfer = &messages.TransferReport{Resync: n.resync, Bytes: 2 << 20, Estimate: 5 << 20, Millis: 1000}
	case messages.PhaseNeedsOperator:
		n.status.Last.Error, n.status.Last.Remedy = "no space", "add a disk"
	}
}

// do is the script command.
func (f *fleet) do(args []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(args) >= 2 && args[0] == "plays": // NODE PHASE…: what its next resync goes through
		n := f.nodes[messages.NodeName(args[1])]
		n.script = nil
		for _, p := range args[2:] {
			n.script = append(n.script, messages.Phase(p))
		}
		return nil
	case len(args) == 1 && args[0] == "corrupts": // every stored chunk
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		bucket := messages.Subjects{Cluster: f.cluster}.Bucket()
		s, err := f.nodes["db1"].link.JetStream().Stream(ctx, "OBJ_"+bucket)
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject("$O."+bucket+".C.>"))
	}
	return errors.New("want plays or corrupts")
}
