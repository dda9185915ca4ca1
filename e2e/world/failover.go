package world

import (
	"context"
	"fmt"
	"strings"
)

// Promote makes a primary of a standby, as anybody might.
func (n *Node) Promote(ctx context.Context) error {
	if _, err := n.SQL(ctx, "select pg_promote()"); err != nil {
		return err
	}
	return Until(ctx, "the promotion of "+n.Name, patience, func(ctx context.Context) (bool, string) {
		got, err := n.SQL(ctx, "select pg_is_in_recovery()")
		return err == nil && got == "f", fmt.Sprint(got, err)
	})
}

// Crash ends PostgreSQL without a checkpoint, wherever its data directory is.
func (n *Node) Crash(ctx context.Context) error {
	dir, err := n.SQL(ctx, "select setting from pg_settings where name = 'data_directory'")
	if err != nil {
		return err
	}
	_, err = n.Run(ctx, AsPostgres("pg_ctl", "stop", "-w", "-m", "immediate", "-D", dir)...)
	return err
}

// Aside lists the datasets that were set aside on the node under that word, like
// "diverged", and wait for the operator.
func (n *Node) Aside(ctx context.Context, word string) ([]string, error) {
	out, err := n.Run(ctx, "zfs", "list", "-H", "-d", "1", "-t", "filesystem", "-o", "name,pgresync:"+word, n.Pool())
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.SplitSeq(out, "\n") {
		name, since, _ := strings.Cut(line, "\t")
		if strings.HasPrefix(name, n.Live()+".pgresync-"+word+"-") && since != "-" {
			found = append(found, name)
		}
	}
	return found, nil
}

// Inventory names the datasets of the node's pool, and counts what else is there.
type Inventory struct {
	Datasets                    []string
	Snapshots, Bookmarks, Slots int
}

// Inventory is what is there now.
func (n *Node) Inventory(ctx context.Context) (Inventory, error) {
	out, err := n.Run(ctx, "zfs", "list", "-H", "-r", "-t", "all", "-o", "type,name", n.Pool())
	if err != nil {
		return Inventory{}, err
	}
	slots, err := n.SQL(ctx, "select slot_name from pg_replication_slots where slot_name like 'pgresync%'")
	if err != nil {
		return Inventory{}, err
	}
	i := Inventory{Slots: len(strings.Fields(slots))}
	for line := range strings.SplitSeq(out, "\n") {
		switch kind, name, _ := strings.Cut(line, "\t"); kind {
		case "filesystem":
			i.Datasets = append(i.Datasets, name)
		case "snapshot":
			i.Snapshots++
		case "bookmark":
			i.Bookmarks++
		}
	}
	return i, nil
}
