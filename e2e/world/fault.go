package world

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Unplug cuts the node's network off; Plug restores it.
func (n *Node) Unplug(ctx context.Context) error {
	return runAll(ctx, []string{"ip", "link", "set", n.link(), "down"})
}

// Plug is the end of Unplug.
func (n *Node) Plug(ctx context.Context) error {
	return runAll(ctx, []string{"ip", "link", "set", n.link(), "up"})
}

// Throttle limits what reaches the node, so that a transfer lasts. rate is in tc's
// notation, like 16mbit.
func (n *Node) Throttle(ctx context.Context, rate string) error {
	return runAll(ctx, []string{"tc", "qdisc", "replace", "dev", n.link(), "root", "tbf", "rate", rate, "burst", "256kb", "latency", "400ms"})
}

// Unthrottle is the end of Throttle.
func (n *Node) Unthrottle(ctx context.Context) error {
	return runAll(ctx, []string{"tc", "qdisc", "del", "dev", n.link(), "root"})
}

// Signal waits for a process of the node whose arguments begin with argv and sends
// it sig.
func (n *Node) Signal(ctx context.Context, sig syscall.Signal, argv ...string) error {
	what := fmt.Sprintf("a process %q on %s", strings.Join(argv, " "), n.Name)
	return Until(ctx, what, patience, func(context.Context) (bool, string) {
		pids, err := n.Find(argv...)
		if err != nil || len(pids) == 0 {
			return false, fmt.Sprint("none ", err)
		}
		return syscall.Kill(pids[0], sig) == nil, fmt.Sprint(pids)
	})
}

// Postmasters are the servers that run on the node.
func (n *Node) Postmasters() ([]int, error) { return n.Find("postgres", "-D") }

// FillPool takes what is left of the node's pool for a tenant, up to a little;
// FreePool gives it back.
func (n *Node) FillPool(ctx context.Context) error {
	// Others write meanwhile: what was free may not be any more, and the slower the
	// machine is, the more of it.
	const step = 256 << 10
	written := int64(0)
	return Until(ctx, "a full pool on "+n.Name, patience, func(ctx context.Context) (bool, string) {
		out, err := n.Run(ctx, "zfs", "get", "-H", "-p", "-o", "value", "available", n.Pool())
		if err != nil {
			return false, err.Error()
		}
		free, err := strconv.ParseInt(out, 10, 64)
		if err == nil {
			_, err = n.Run(ctx, "zfs", "set", fmt.Sprintf("refreservation=%d", free-written), n.filler())
		}
		written += step
		return err == nil, fmt.Sprint(err)
	})
}

// FreePool is the end of FillPool.
func (n *Node) FreePool(ctx context.Context) error {
	_, err := n.Run(ctx, "zfs", "set", "refreservation=none", n.filler())
	return err
}

// filler is one of the tenants that PlantForeign made.
func (n *Node) filler() string { return n.Pool() + "/tenant" }
