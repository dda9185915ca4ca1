package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/pgresync/pgresync/internal/command"
)

// Node is one host of the world.
type Node struct {
	Name string
	// Index is its place in Options.Nodes, from 1.
	Index int

	world  *World
	holder *Process // keeps the namespaces alive; nil beside the bridge
	pooled bool
	// configured: its configuration does not lie in the data directory.
	configured bool

	mu        sync.Mutex
	processes []*Process
	lines     map[string][]Line // of the sidecars, by kind
}

func newNode(w *World, name string, index int) *Node {
	return &Node{Name: name, Index: index, world: w, lines: map[string][]Line{}}
}

// Pool is the name of the node's pool.
func (n *Node) Pool() string { return "tank" + strconv.Itoa(n.Index) }

// Address is the node's address.
func (n *Node) Address() string { return address(n.Index).String() }

// Out is the node's directory of logs.
func (n *Node) Out() string { return filepath.Join(n.world.o.Out, n.Name) }

func (n *Node) link() string { return "pgrw" + strconv.Itoa(n.Index) }

// PoolFile is the file in which the pool is.
func (n *Node) PoolFile() string { return filepath.Join(n.world.o.Scratch, n.Pool()) }

// makeOut makes the directory of logs; PostgreSQL's go there too.
func (n *Node) makeOut() error {
	if err := os.MkdirAll(n.Out(), 0o750); err != nil {
		return err
	}
	uid, gid, err := postgresIDs()
	if err != nil {
		return err
	}
	return os.Chown(n.Out(), uid, gid)
}

func (n *Node) build(ctx context.Context) error {
	if err := n.makeOut(); err != nil {
		return err
	}
	if err := n.hold(ctx); err != nil {
		return err
	}
	if err := n.buildNetwork(ctx); err != nil {
		return err
	}
	if err := n.buildMounts(ctx); err != nil {
		return err
	}
	if n.world.o.Separate {
		if err := n.prepareSeparation(ctx); err != nil {
			return err
		}
	}
	return n.buildPool(ctx)
}

// hold starts the process that owns the namespaces. Private propagation keeps the
// node's mounts out of everybody else's sight.
func (n *Node) hold(ctx context.Context) error {
	p, err := start(ctx, n, "holder", nil, []string{"unshare", "--mount", "--net", "--propagation", "private", "--", "sleep", "infinity"})
	if err != nil {
		return err
	}
	n.holder = p
	return Until(ctx, "the namespaces of "+n.Name, patience, func(context.Context) (bool, string) {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID()))
		return err == nil && strings.TrimSpace(string(comm)) == "sleep", strings.TrimSpace(string(comm))
	})
}

func (n *Node) buildNetwork(ctx context.Context) error {
	err := runAll(ctx,
		[]string{"ip", "link", "add", n.link(), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(n.holder.PID())},
		[]string{"ip", "link", "set", n.link(), "master", bridge},
		[]string{"ip", "link", "set", n.link(), "up"},
	)
	if err != nil {
		return err
	}
	return n.runAll(ctx,
		[]string{"ip", "addr", "add", n.Address() + "/24", "dev", "eth0"},
		[]string{"ip", "link", "set", "eth0", "up"},
		[]string{"ip", "link", "set", "lo", "up"},
	)
}

// buildMounts gives the node directories that a host has for itself.
func (n *Node) buildMounts(ctx context.Context) error {
	uid, gid, err := postgresIDs()
	if err != nil {
		return err
	}
	for _, dir := range []string{"/run/postgresql", "/run/pgresync", "/var/lib/pgresync"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		mode := "mode=0755"
		if dir == "/run/postgresql" {
			mode = fmt.Sprintf("mode=2775,uid=%d,gid=%d", uid, gid)
		}
		if err := n.runAll(ctx, []string{"mount", "-t", "tmpfs", "-o", mode, "tmpfs", dir}); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) buildPool(ctx context.Context) error {
	f, err := os.OpenFile(n.PoolFile(), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(n.world.o.PoolSize), f.Close()); err != nil {
		return err
	}
	// No cache file: nothing of the world may be imported at the next boot.
	err = n.runAll(ctx, []string{"zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", "-O", "atime=off", n.Pool(), n.PoolFile()})
	n.pooled = err == nil
	return err
}

// close ends what runs in the node and removes its pool. The mounts go with the
// last process of the namespace.
func (n *Node) close(ctx context.Context) error {
	var errs []error
	if n.holder != nil {
		errs = append(errs, n.killAll(ctx))
	}
	n.mu.Lock()
	processes := n.processes
	n.mu.Unlock()
	for _, p := range processes {
		p.Kill9()
	}
	if n.holder != nil {
		n.holder.Kill9()
	}
	if n.pooled {
		errs = append(errs, n.destroyPool(ctx))
	}
	return errors.Join(errs...)
}

// destroyPool retries: the kernel takes a namespace's mounts down behind its last
// process.
func (n *Node) destroyPool(ctx context.Context) error {
	return Until(ctx, "the end of pool "+n.Pool(), patience, func(ctx context.Context) (bool, string) {
		err := runAll(ctx, []string{"zpool", "destroy", "-f", n.Pool()})
		if err != nil {
			return false, err.Error()
		}
		n.pooled = false
		return true, ""
	})
}

// killAll kills every process in the node's mount namespace but the holder.
func (n *Node) killAll(ctx context.Context) error {
	return Until(ctx, "the end of all processes of "+n.Name, patience, func(context.Context) (bool, string) {
		pids, err := n.PIDs()
		if err != nil {
			return false, err.Error()
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
		return len(pids) == 0, fmt.Sprint(pids)
	})
}

// Run runs a command in the node as root and returns its standard output.
func (n *Node) Run(ctx context.Context, argv ...string) (string, error) {
	out, err := n.Command(argv...).Output(ctx)
	return strings.TrimRight(string(out), "\n"), err
}

func (n *Node) runAll(ctx context.Context, argvs ...[]string) error {
	for _, argv := range argvs {
		if _, err := n.Run(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// Command is a command in the node, not started, as root and with PostgreSQL's
// programs in its PATH.
func (n *Node) Command(argv ...string) command.Command {
	full := n.argv(argv)
	return command.Command{Path: full[0], Args: full[1:], Env: environment(nil)}
}

// AsPostgres is argv to be run as PostgreSQL's operating system user.
func AsPostgres(argv ...string) []string {
	return append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"}, argv...)
}

// Start starts a command in the node; its output goes to <source>.log in Out.
func (n *Node) Start(ctx context.Context, source string, env map[string]string, argv ...string) (*Process, error) {
	p, err := start(ctx, n, source, env, n.argv(argv))
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.processes = append(n.processes, p)
	return p, nil
}

// argv enters the namespaces; nsenter becomes the command, so that its PID is the
// command's.
func (n *Node) argv(argv []string) []string {
	if n.holder == nil {
		return argv
	}
	return append([]string{"nsenter", "--target", strconv.Itoa(n.holder.PID()), "--mount", "--net", "--"}, argv...)
}
