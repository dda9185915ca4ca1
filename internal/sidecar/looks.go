package sidecar

import (
	"context"
	"errors"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/metrics"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// Announcer is what both services publish with.
type Announcer interface {
	Publish(ctx context.Context, e messages.Event) error
	PutStatus(ctx context.Context, s messages.NodeStatus) error
	Nodes(ctx context.Context) ([]messages.NodeStatus, error)
}

// Tee tells Observe of each event before it is published.
type Tee struct {
	Announcer
	Observe func(messages.Event)
}

// Publish observes and publishes.
func (t Tee) Publish(ctx context.Context, e messages.Event) error {
	t.Observe(e)
	return t.Announcer.Publish(ctx, e)
}

// Datasets is what a look at ZFS asks.
type Datasets interface {
	List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error)
	Histories(ctx context.Context, root messages.Dataset) (map[messages.Dataset]messages.History, error)
	Pool(ctx context.Context, pool string) (messages.PoolInfo, error)
	Held(ctx context.Context, d messages.Dataset) (int, error)
}

// LookAtPool looks at the pool of d.
func LookAtPool(zfs Datasets, d messages.Dataset) metrics.Probe {
	return metrics.Probe{Name: "pool", Look: func(ctx context.Context) ([]metrics.Sample, error) {
		info, err := zfs.Pool(ctx, d.Pool())
		if err != nil {
			return nil, err
		}
		return metrics.Pool(info), nil
	}}
}

// LookAtTree looks at what is below root; which is "live" or "lineage". A node that
// was never seeded has nothing there, which is no failure.
func LookAtTree(zfs Datasets, which string, root messages.Dataset) metrics.Probe {
	return metrics.Probe{Name: which, Look: func(ctx context.Context) ([]metrics.Sample, error) {
		tree, err := zfs.List(ctx, root)
		if errors.Is(err, messages.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		histories, err := zfs.Histories(ctx, root)
		if err != nil {
			return nil, err
		}
		// What arrives is below the lineage's root, which itself has no snapshots.
		var all messages.History
		held := 0
		for _, d := range tree {
			if d.Name != root && (which != Lineage || d.Name.Parent() != root) {
				continue
			}
			n, err := zfs.Held(ctx, d.Name)
			if err != nil {
				return nil, err
			}
			held += n
			all = append(all, histories[d.Name]...)
		}
		return metrics.Tree(which, tree[0], all, held), nil
	}}
}

// The trees that are looked at.
const (
	Live    = "live"
	Lineage = "lineage"
)

// Slots is what a look at a server's slots asks.
type Slots interface {
	Identity(ctx context.Context) (messages.Identity, error)
	SlotUses(ctx context.Context) ([]messages.SlotUse, error)
}

// LookAtSlots looks at them whatever the server's role is: what a former primary
// keeps for those that followed it fills its disk as a standby.
func LookAtSlots(db Slots) metrics.Probe {
	return metrics.Probe{Name: "slots", Look: func(ctx context.Context) ([]metrics.Sample, error) {
		id, err := db.Identity(ctx)
		if err != nil {
			return nil, err
		}
		slots, err := db.SlotUses(ctx)
		if err != nil {
			return nil, err
		}
		return metrics.Slots(slots, id.LSN), nil
	}}
}

// LookAtStatus asks a service whose status costs a query.
func LookAtStatus(status func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error)) metrics.Probe {
	return metrics.Probe{Name: "status", Look: func(ctx context.Context) ([]metrics.Sample, error) {
		reply, err := status(ctx, messages.OperatorRequest{})
		if err != nil {
			return nil, err
		}
		return metrics.Node(*reply.Status), nil
	}}
}

// LookAtJetStream looks at what the cluster's streams hold.
func LookAtJetStream(link *bus.Bus) metrics.Probe {
	return metrics.Probe{Name: "jetstream", Look: func(ctx context.Context) ([]metrics.Sample, error) {
		usage, err := link.Usage(ctx)
		if err != nil {
			return nil, err
		}
		stores := make([]metrics.Store, len(usage))
		for i, u := range usage {
			stores[i] = metrics.Store{Which: u.Which, Bytes: u.Bytes, Messages: u.Messages, Limit: u.Limit}
		}
		return metrics.Stores(stores), nil
	}}
}

// Moved fits the data plane's counts to the metrics.
func Moved(totals func() stream.Totals) func() metrics.Moved {
	return func() metrics.Moved { return metrics.Moved(totals()) }
}

// Children are the programs that this process ran.
func Children() []metrics.Child {
	var out []metrics.Child
	for program, n := range command.Tallies() {
		out = append(out, metrics.Child{Program: program, Running: n.Running, Started: n.Started, Failed: n.Failed})
	}
	return out
}
