package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Converge waits until the standby is at rest, has obeyed what was asked for, and
// streams. A call for an operator ends the waiting: nothing comes of it by itself.
func (r *Rig) Converge(ctx context.Context, limit time.Duration) error {
	if err := r.rests(ctx, limit, false); err != nil {
		return err
	}
	if err := r.W.Streaming(ctx, limit, r.Primary, r.Standby); err != nil {
		return err
	}
	if err := r.rests(ctx, limit, false); err != nil {
		return err
	}
	var err error
	r.good, err = r.Standby.Run(ctx, "zfs", "get", "-H", "-o", "value", "guid", r.Standby.Live())
	return err
}

var errNeedsOperator = errors.New("the sidecar calls for an operator")

// sightTime is what a sidecar has that went back to the old copy to see that this
// streams, and that nobody is needed.
const sightTime = time.Minute

// rests waits until the machine is idle, or calls for an operator where that is
// what is wanted.
func (r *Rig) rests(ctx context.Context, limit time.Duration, operator bool) error {
	var called error
	var since time.Time
	err := world.Until(ctx, r.Standby.Name+" to be at rest", limit, func(ctx context.Context) (bool, string) {
		j, err := r.Journal(ctx)
		if err != nil {
			return false, err.Error()
		}
		calls := j.Phase == messages.PhaseNeedsOperator && !operator && r.obeyed(j)
		if !calls {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		}
		if calls && time.Since(since) > sightTime {
			called = fmt.Errorf("%w: %s; %s", errNeedsOperator, j.Error, j.Remedy)
			return true, ""
		}
		return r.atRest(j, operator), fmt.Sprintf("%s, trigger of %s, want %s: %s", j.Phase, j.TriggerAt, r.triggered, j.Error)
	})
	return errors.Join(err, called)
}

// obeyed: the broker may still have to bring the trigger once more.
func (r *Rig) obeyed(j resync.Journal) bool {
	return !j.TriggerAt.Before(r.triggered.Add(-time.Second))
}

func (r *Rig) atRest(j resync.Journal, operator bool) bool {
	rest := j.Phase == messages.PhaseIdle || operator && j.Phase == messages.PhaseNeedsOperator
	// Idle and never seeded is the rest of a sidecar that has not looked yet.
	return rest && r.obeyed(j) && j.ID != ""
}

// copyKept checks that the copy that was proven last is still there (I-3), unless
// a newer one is proven.
func (r *Rig) copyKept(ctx context.Context) error {
	j, err := r.Journal(ctx)
	if err != nil || j.Proven && j.Phase == messages.PhaseIdle {
		return err
	}
	all, err := r.Standby.Run(ctx, "zfs", "list", "-H", "-r", "-t", "filesystem", "-o", "guid", r.Standby.Pool())
	if err == nil && !strings.Contains("\n"+all+"\n", "\n"+r.good+"\n") {
		err = fmt.Errorf("the copy that was proven last, guid %s, is gone in phase %s", r.good, j.Phase)
	}
	return err
}

// Check looks at all that must hold of a standby that is well again; thorough
// looks at PostgreSQL's catalogues, too.
func (r *Rig) Check(ctx context.Context, thorough bool) error {
	for _, c := range []struct {
		name  string
		check func(context.Context) error
	}{
		{"rows", func(ctx context.Context) error {
			_, err := r.W.SameRows(ctx, patience, r.Load, r.Primary, r.Standby)
			return err
		}},
		{"amcheck", func(ctx context.Context) error { return r.Standby.Amcheck(ctx, thorough) }},
		{"leftovers", r.clean},
		{"foreign datasets", r.Untouched},
	} {
		began := time.Now()
		if err := c.check(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			r.Say("the check of %s took %s", c.name, took.Round(time.Second))
		}
	}
	return nil
}

var errTouched = errors.New("foreign datasets are not as they were")

// Untouched checks what is none of pgresync's business.
func (r *Rig) Untouched(ctx context.Context) error {
	for _, n := range r.W.Nodes() {
		got, err := n.Foreigners(ctx, n == r.Standby)
		if err != nil {
			return err
		}
		if got != r.foreign[n] {
			return fmt.Errorf("%w: on %s: got\n%s\nwant\n%s", errTouched, n.Name, got, r.foreign[n])
		}
	}
	return nil
}

// clean has the collectors run, and looks for what they left.
func (r *Rig) clean(ctx context.Context) error {
	for n, sidecar := range map[*world.Node]string{r.Primary: messages.SidecarPrimary, r.Standby: messages.SidecarSecondary} {
		err := world.Until(ctx, "the collector of "+n.Name+" to leave nothing", 2*patience, func(ctx context.Context) (bool, string) {
			if _, err := r.ask(ctx, n, sidecar, messages.OperatorRequest{V: messages.Version}); err != nil {
				return false, err.Error()
			}
			left, err := r.ask(ctx, n, sidecar, messages.OperatorRequest{V: messages.Version, DryRun: true})
			if err != nil {
				return false, err.Error()
			}
			return len(left.Items) == 0 && len(left.Kept) == 0, fmt.Sprintf("%+v", *left)
		})
		if err != nil {
			return err
		}
	}
	if err := r.brokerIsClean(ctx); err != nil {
		return err
	}
	return r.bounded(ctx)
}

// brokerIsClean waits until nothing of a transfer is left in JetStream: neither parts
// nor who would read them.
func (r *Rig) brokerIsClean(ctx context.Context) error {
	js, err := jetstream.New(r.nc)
	if err != nil {
		return err
	}
	return world.Until(ctx, "JetStream to have nothing of a transfer", patience, func(ctx context.Context) (bool, string) {
		bucket, err := js.Stream(ctx, "OBJ_"+r.subjects().Bucket())
		if err != nil {
			return false, err.Error()
		}
		parts, err := js.Stream(ctx, r.subjects().PartsStream())
		if err != nil {
			return false, err.Error()
		}
		b, p := bucket.CachedInfo().State, parts.CachedInfo().State
		return b.Msgs == 0 && b.Consumers == 0 && p.Consumers == 0,
			fmt.Sprintf("%d messages and %d consumers in the bucket, %d consumers of announcements", b.Msgs, b.Consumers, p.Consumers)
	})
}

func (r *Rig) ask(ctx context.Context, n *world.Node, sidecar string, q messages.OperatorRequest) (*messages.CleanupReport, error) {
	body, err := messages.Encode(&q)
	if err != nil {
		return nil, err
	}
	// The collector waits for its turn, and an emulated machine takes its time; one that
	// is asked again meanwhile has the more to do.
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	m, err := r.nc.RequestWithContext(ctx, r.subjects().Operator(messages.NodeName(n.Name), sidecar, messages.VerbCleanup), body)
	if err != nil {
		return nil, err
	}
	var reply messages.OperatorReply
	if err := messages.Decode(m.Data, &reply); err != nil {
		return nil, err
	}
	if reply.Cleanup == nil {
		return nil, fmt.Errorf("%s of %s: %s", sidecar, n.Name, m.Data)
	}
	return reply.Cleanup, nil
}

// The most that may ever lie about. On the standby: the pool, two tenants, three
// datasets of the lineage's own, a branch of two, and the live copy's three. On the
// primary, for each of three datasets: the bookmarks that are kept, those that a
// standby has a use for, and that of each snapshot.
const (
	mostDatasets  = 11
	mostSnapshots = 24
	mostBookmarks = 3*(bookmarkKeep+messages.MaxBases) + mostSnapshots
	mostSlots     = 1

	bookmarkKeep = 50 // the default of PGRESYNC_BOOKMARK_KEEP
)

// bounded counts what the two nodes have, and looks for what no list of leftovers
// may know: slots, partial receives, mounts aside.
func (r *Rig) bounded(ctx context.Context) error {
	for _, n := range r.W.Nodes() {
		i, err := n.Inventory(ctx)
		if err != nil {
			return err
		}
		if len(i.Datasets) > mostDatasets || i.Snapshots > mostSnapshots || i.Bookmarks > mostBookmarks || i.Slots > mostSlots {
			return fmt.Errorf("%s has more than it needs: %+v", n.Name, i)
		}
	}
	tokens, err := r.Standby.Run(ctx, "zfs", "list", "-H", "-r", "-t", "filesystem", "-o", "name,receive_resume_token,mountpoint,mounted", r.Standby.Pool())
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(tokens, "\n") {
		f := strings.Split(line, "\t")
		if len(f) == 4 && (f[1] != "-" || strings.Contains(f[2], "pgresync") && f[3] == "yes") {
			return fmt.Errorf("a leftover of a receive or of staging: %s", line)
		}
	}
	return nil
}
