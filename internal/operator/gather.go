package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Cluster is what is asked; *bus.Bus is one.
type Cluster interface {
	Nodes(ctx context.Context) ([]messages.NodeStatus, error)
	LastSeen(ctx context.Context) (map[messages.NodeName]time.Time, error)
	Lease(ctx context.Context) (messages.Lease, uint64, error)
	Streams(ctx context.Context) ([]messages.StreamRecord, error)
	Operate(ctx context.Context, node messages.NodeName, sidecar string, verb messages.OperatorVerb, r messages.OperatorRequest) (*messages.OperatorReply, error)
}

// Facts are everything that is known of a cluster at one moment.
type Facts struct {
	At time.Time
	// Lease is nil when nobody publishes.
	Lease *messages.Lease
	// Sidecars are those that are present, by node and sidecar.
	Sidecars []Sidecar
	// Seen are all nodes that ever told something, as far as events are kept.
	Seen    map[messages.NodeName]time.Time
	Streams []messages.StreamRecord
}

// Sidecar is one sidecar's state.
type Sidecar struct {
	messages.NodeStatus
	// Silent is why it did not answer: the status is its last published one then.
	Silent string
}

func (s *Sidecar) key() string { return string(s.Node) + " " + s.Sidecar }

// patience is how long one sidecar may take to tell its status.
const patience = 3 * time.Second

// Gather asks everyone. A sidecar that does not answer is no error: that it does
// not is what the operator wants to see.
func Gather(ctx context.Context, c Cluster, now time.Time) (*Facts, error) {
	present, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	f := &Facts{At: now, Sidecars: make([]Sidecar, len(present))}
	var wg sync.WaitGroup
	for i, st := range present {
		wg.Go(func() { f.Sidecars[i] = ask(ctx, c, st) })
	}
	wg.Wait()
	slices.SortFunc(f.Sidecars, func(a, b Sidecar) int {
		return strings.Compare(a.key(), b.key())
	})
	lease, _, err := c.Lease(ctx)
	switch {
	case err == nil:
		f.Lease = &lease
	case !errors.Is(err, messages.ErrNotFound):
		return nil, err
	}
	// Who may only look may be denied the stored events, and they may not come in time;
	// what is present is shown all the same.
	f.Seen, err = c.LastSeen(ctx)
	if err != nil && !errors.Is(err, messages.ErrPermission) && !errors.Is(err, messages.ErrUnavailable) {
		return nil, err
	}
	f.Streams, err = c.Streams(ctx)
	return f, err
}

func ask(ctx context.Context, c Cluster, last messages.NodeStatus) Sidecar {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := c.Operate(ctx, last.Node, last.Sidecar, messages.VerbStatus, messages.OperatorRequest{})
	switch {
	case err != nil:
		return Sidecar{last, err.Error()}
	case reply.Status == nil:
		return Sidecar{last, fmt.Sprintf("the %s sidecar of %s answered without a status", last.Sidecar, last.Node)}
	}
	return Sidecar{*reply.Status, ""}
}

func (f *Facts) publishes(n messages.NodeName) bool { return f.Lease != nil && f.Lease.Node == n }
