package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

func (r *Rig) lineage() string { return r.Standby.Pool() + "/pgresync/" + world.Cluster }

// Journal is what is on disk now; idle where there is none.
func (r *Rig) Journal(ctx context.Context) (resync.Journal, error) {
	j := resync.NewJournal()
	roots, err := r.Standby.Run(ctx, "zfs", "list", "-H", "-r", "-t", "filesystem", "-o", "name,"+messages.PropJournal, r.Standby.Pool())
	if err != nil {
		return j, err
	}
	for line := range strings.SplitSeq(roots, "\n") {
		if name, packed, _ := strings.Cut(line, "\t"); name == r.lineage() && packed != "-" {
			return j, messages.UnpackProperty(packed, &j)
		}
	}
	return j, nil
}

// written is the journal that a call of zfs writes.
func written(c world.Call) (resync.Journal, error) {
	j := resync.Journal{}
	packed, ok := strings.CutPrefix(c.Args, "set "+messages.PropJournal+"=")
	if !ok {
		return j, fmt.Errorf("%q writes no journal", c.Args)
	}
	packed, _, _ = strings.Cut(packed, " ")
	return j, messages.UnpackProperty(packed, &j)
}

// spend makes the standby's memory of earlier resyncs that of n which began now:
// the day of a test has more of them than a day.
func (r *Rig) spend(ctx context.Context, n int) error {
	j, err := r.Journal(ctx)
	if err != nil {
		return err
	}
	if r.follower != nil && r.follower.Running() {
		if err := r.follower.Stop(); err != nil {
			return err
		}
	}
	j.Begun = slices.Repeat([]time.Time{time.Now().UTC()}, n)
	packed, err := messages.PackProperty(&j)
	if err != nil {
		return err
	}
	_, err = r.Standby.Run(ctx, "zfs", "set", messages.PropJournal+"="+packed, r.lineage())
	return err
}
