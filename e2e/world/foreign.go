package world

import (
	"context"
	"strings"
)

// PlantForeign makes on the node's pool what a periodic snapshot tool and other
// tenants would have there.
func (n *Node) PlantForeign(ctx context.Context) error {
	return n.runAll(ctx,
		[]string{"zfs", "create", "-o", "mountpoint=none", n.Pool() + "/tenant"},
		[]string{"zfs", "create", "-o", "mountpoint=none", n.Pool() + "/pg-other"},
		[]string{"zfs", "create", "-s", "-V", "8M", "-o", "volmode=none", n.Pool() + "/vm"},
		[]string{"zfs", "snapshot", "-r", n.Pool() + "@autosnap_daily"},
		[]string{"zfs", "bookmark", n.Pool() + "/tenant@autosnap_daily", n.Pool() + "/tenant#autosnap_daily"},
	)
}

// Foreigners lists, with their GUIDs, the datasets, snapshots and bookmarks that
// are none of pgresync's making. A standby's live dataset is.
func (n *Node) Foreigners(ctx context.Context, standby bool) (string, error) {
	all, err := n.Run(ctx, "zfs", "list", "-H", "-r", "-t", "all", "-o", "name,guid", n.Pool())
	if err != nil {
		return "", err
	}
	var out []string
	for line := range strings.SplitSeq(all, "\n") {
		name, _, _ := strings.Cut(line, "\t")
		live := standby && (name == n.Live() || strings.HasPrefix(name, n.Live()+"/"))
		if !strings.Contains(name, "pgresync") && !live {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n"), nil
}
