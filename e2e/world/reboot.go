package world

import (
	"context"
	"fmt"
	"path/filepath"
)

// PowerOff ends the node as reboot -f would: every process is gone at once, and so
// is what lay in memory; the pool is exported by force.
func (n *Node) PowerOff(ctx context.Context) error {
	if err := n.killAll(ctx); err != nil {
		return err
	}
	// The kernel takes its time over the last references of what was killed.
	return Until(ctx, "the export of pool "+n.Pool(), patience, func(ctx context.Context) (bool, string) {
		_, err := n.Run(ctx, "zpool", "export", "-f", n.Pool())
		return err == nil, fmt.Sprint(err)
	})
}

// PowerOn boots it: the directories in memory are empty, the pool is imported and
// mounts what canmount=on says. Nothing is started.
func (n *Node) PowerOn(ctx context.Context) error {
	for _, dir := range []string{"/run/postgresql", "/run/pgresync"} {
		if err := n.runAll(ctx, []string{"find", dir, "-xdev", "-mindepth", "1", "-delete"}); err != nil {
			return err
		}
	}
	_, err := n.Run(ctx, "zpool", "import", "-f", "-o", "cachefile=none", "-d", filepath.Dir(n.PoolFile()), n.Pool())
	return err
}

// Replace gives the node an empty disk.
func (n *Node) Replace(ctx context.Context) error {
	if err := n.killAll(ctx); err != nil {
		return err
	}
	// From inside: the mounts of a node that lives on are in nobody else's sight, and
	// a destroy from outside waits for them until the deadline.
	err := Until(ctx, "the end of pool "+n.Pool(), patience, func(ctx context.Context) (bool, string) {
		_, err := n.Run(ctx, "zpool", "destroy", "-f", n.Pool())
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return err
	}
	if err := remove(n.PoolFile()); err != nil {
		return err
	}
	return n.buildPool(ctx)
}
