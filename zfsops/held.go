package zfsops

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Held counts the snapshots of d itself that carry a hold, whoever's it is.
func (z *ZFS) Held(ctx context.Context, d messages.Dataset) (int, error) {
	a := on("count holds", d)
	out, err := z.output(ctx, a, "list", "-Hp", "-r", "-d", "1", "-t", "snapshot", "-o", "name,userrefs", string(d))
	if err != nil {
		return 0, err
	}
	n, err := parseHeld(string(out), d)
	return n, a.wrap(err)
}

// parseHeld leaves out the snapshots of children, which -d 1 lists too.
func parseHeld(out string, d messages.Dataset) (int, error) {
	held := 0
	for line := range strings.Lines(out) {
		name, refs, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return 0, fmt.Errorf("unexpected output: row without a tab %q", line)
		}
		if strings.HasPrefix(name, string(d)+"@") && refs != "0" && refs != "-" {
			held++
		}
	}
	return held, nil
}
