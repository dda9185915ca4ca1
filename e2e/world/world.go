package world

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgresync/pgresync/internal/command"
)

const (
	bridge = "pgrw0"
	// The broker's only account: an embedded server that others can reach refuses to
	// run without one.
	natsUser, natsPassword = "pgresync", "lab"
	// NATSURL is where the broker listens: it is embedded in the primary sidecar of
	// the first node.
	NATSURL = "nats://" + natsUser + ":" + natsPassword + "@10.77.0.1:4222"
)

// Options say what world to build.
type Options struct {
	// Nodes are the names; the n-th (from 1) has the address 10.77.0.n and the pool
	// tankn.
	Nodes []string
	// Bin is the directory of primary-sidecar, secondary-sidecar and the nats command.
	Bin string
	// Out is a directory for the logs of all that runs, one directory per node.
	Out string
	// Scratch is a directory for the pools' files, "" for one of its own below the
	// system's temporary directory.
	Scratch string
	// PoolSize is in bytes, 0 for 3 GiB; the files are sparse.
	PoolSize int64
	// Broker starts a NATS server of its own beside the bridge. Without it the broker is
	// embedded in the primary sidecar of the first node.
	Broker bool
	// Separate has the secondary sidecars run in two parts, of which the one that is
	// connected has no privileges.
	Separate bool
	// Encrypted has primaries made on encrypted datasets, with a key in KeyFile.
	Encrypted bool
	// Tail, if not nil, gets every line that a process of a node prints. It is called
	// from many goroutines.
	Tail func(node, source, line string)
}

// World is a set of nodes. It is safe for concurrent use, Close excepted.
type World struct {
	o     Options
	nodes map[string]*Node
	order []*Node
	// here is the namespace that all nodes see through the bridge; it is no node.
	here *Node
}

// New builds the nodes. After an error nothing is left.
func New(ctx context.Context, o Options) (*World, error) {
	if o.PoolSize == 0 {
		o.PoolSize = 3 << 30
	}
	if o.Scratch == "" {
		dir, err := os.MkdirTemp("", "pgresync-world-")
		if err != nil {
			return nil, fmt.Errorf("build world: %w", err)
		}
		o.Scratch = dir
	}
	w := &World{o: o, nodes: map[string]*Node{}}
	if err := w.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build world: %w", err), w.Close())
	}
	return w, nil
}

func (w *World) build(ctx context.Context) error {
	if err := w.buildBridge(ctx); err != nil {
		return err
	}
	for i, name := range w.o.Nodes {
		n := newNode(w, name, i+1)
		w.nodes[name] = n
		w.order = append(w.order, n)
		if err := n.build(ctx); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	if w.o.Broker {
		return w.startBroker(ctx)
	}
	return nil
}

// The first node of another world may not be in the way: one world at a time.
func (w *World) buildBridge(ctx context.Context) error {
	w.here = newNode(w, "bridge", 0)
	if err := w.here.makeOut(); err != nil {
		return err
	}
	return runAll(ctx,
		[]string{"ip", "link", "add", bridge, "type", "bridge"},
		[]string{"ip", "addr", "add", "10.77.0.254/24", "dev", bridge},
		[]string{"ip", "link", "set", bridge, "up"},
	)
}

// Node finds a node, nil when Options.Nodes does not name it.
func (w *World) Node(name string) *Node { return w.nodes[name] }

// Nodes are all nodes in order.
func (w *World) Nodes() []*Node { return w.order }

// NATS runs the stock nats command beside the bridge and returns what it prints.
func (w *World) NATS(ctx context.Context, args ...string) (out string, err error) {
	_ = Until(ctx, "the server's greeting", patience, func(ctx context.Context) (bool, string) {
		out, err = w.here.Run(ctx, w.natsCommand(args)...)
		return !notGreeted(err), ""
	})
	return out, err
}

// notGreeted is whether the stock nats command failed before it could say anything: it
// waits two seconds for the server's first words, whatever its options (natscli v0.5.1),
// and a server on an emulated processor may need longer.
func notGreeted(err error) bool {
	return err != nil && strings.Contains(err.Error(), "i/o timeout")
}

// FollowNATS starts the stock nats command beside the bridge;
// what it prints goes to <source>.log in the directory of logs named bridge.
func (w *World) FollowNATS(ctx context.Context, source string, args ...string) (*Process, error) {
	return w.here.Start(ctx, source, nil, w.natsCommand(args)...)
}

// Pgresync runs the operator's command beside the bridge and returns what it prints.
func (w *World) Pgresync(ctx context.Context, args ...string) (string, error) {
	return w.here.Run(ctx, append([]string{"env", "PGRESYNC_CLUSTER=" + Cluster, "PGRESYNC_NATS_URL=" + w.BrokerURL()}, w.pgresync(args)...)...)
}

// FollowPgresync starts the operator's command beside the bridge; what it prints
// goes to <source>.log in the directory of logs named bridge.
func (w *World) FollowPgresync(ctx context.Context, source string, args ...string) (*Process, error) {
	return w.here.Start(ctx, source, map[string]string{"PGRESYNC_CLUSTER": Cluster, "PGRESYNC_NATS_URL": w.BrokerURL()}, w.pgresync(args)...)
}

func (w *World) pgresync(args []string) []string {
	return append([]string{filepath.Join(w.o.Bin, "pgresync")}, args...)
}

func (w *World) natsCommand(args []string) []string {
	return append([]string{filepath.Join(w.o.Bin, "nats"), "--server", w.BrokerURL()}, args...)
}

// Close ends every process of every node, destroys the pools and takes the network
// down. It does not give up at the first failure.
func (w *World) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var errs []error
	if w.here != nil {
		errs = append(errs, w.here.close(ctx))
	}
	for _, n := range w.order {
		if err := n.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close node %s: %w", n.Name, err))
		}
	}
	if w.here != nil {
		errs = append(errs, runAll(ctx, []string{"ip", "link", "del", bridge}))
	}
	return errors.Join(append(errs, os.RemoveAll(w.o.Scratch))...)
}

func runAll(ctx context.Context, argvs ...[]string) error {
	for _, argv := range argvs {
		if err := (command.Command{Path: argv[0], Args: argv[1:]}).Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func address(index int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(index)}) }
