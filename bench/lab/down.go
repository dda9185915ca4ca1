package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/faults"
	"github.com/pgresync/pgresync/e2e/world"
)

// downGroup is the rows' group, which bench/plot draws.
const downGroup = "down"

// fsync has a server that starts from a backup_label sync every file, which is
// PostgreSQL's default, in place of the file systems.
var fsync = map[string]string{"PGRESYNC_POSTGRES_SETTINGS": "recovery_init_sync_method=fsync"}

// downTimes compares how long a client cannot read from the standby in a resync,
// with either way to sync, and when PostgreSQL is merely stopped and started, in
// turn, on an idle world.
func downTimes(ctx context.Context, o options, stdout io.Writer) error {
	rep := newReport("down time of a standby")
	resyncs, synced := &report.Row{Group: downGroup, Name: "resync"}, &report.Row{Group: downGroup, Name: "resync, every file synced"}
	restarts := &report.Row{Group: downGroup, Name: "stop and start of PostgreSQL"}
	rep.Rows = []*report.Row{resyncs, synced, restarts}
	// The daily budget is for standbys that are resynced by themselves.
	ro := faults.RigOptions{Idle: true, Follower: map[string]string{"PGRESYNC_LOG_LEVEL": "debug"}}
	return withRig(ctx, o, ro, stdout, func(r *faults.Rig) error {
		began := time.Now()
		for i := range o.repeat {
			if time.Since(began) > o.limit {
				break
			}
			for j, c := range []struct {
				row   *report.Row
				env   map[string]string
				every int // rounds
			}{{resyncs, nil, 1}, {synced, fsync, 3}} {
				if i%c.every != 0 {
					continue
				}
				one, err := downInResync(ctx, r, uint64(2*i+j), o.change, c.env)
				if err != nil {
					return fmt.Errorf("%s %d: %w", c.row.Name, i+1, err)
				}
				c.row.Runs = append(c.row.Runs, one)
				_, _ = fmt.Fprintf(stdout, "%2d: %s %.2f s %v\n", i+1, c.row.Name, one.Seconds, one.Values)
			}
			other, err := downInRestart(ctx, r)
			if err != nil {
				return fmt.Errorf("restart %d: %w", i+1, err)
			}
			restarts.Runs = append(restarts.Runs, other)
			_, _ = fmt.Fprintf(stdout, "%2d: stop and start %.2f s\n", i+1, other.Seconds)
			if err := rep.Save(o.result("down.json")); err != nil {
				return err
			}
		}
		printQuantiles(stdout, rep.Rows)
		return nil
	})
}

func downInResync(ctx context.Context, r *faults.Rig, serial uint64, change int64, env map[string]string) (report.Run, error) {
	if err := r.Follow(ctx, env); err != nil {
		return report.Run{}, err
	}
	if err := r.Primary.AddDocuments(ctx, serial+100, change); err != nil {
		return report.Run{}, err
	}
	mark := len(r.Standby.Log(world.Secondary))
	p := watchReads(ctx, r.Standby)
	err := r.Resync(ctx)
	down := p.stop()
	if err != nil {
		return report.Run{}, err
	}
	run := report.Run{Seconds: down.Seconds(), Values: map[string]float64{}}
	for _, l := range r.Standby.Log(world.Secondary)[mark:] {
		switch l.Message {
		case "phase done":
			run.Values[l.Str("phase")+" s"] += l.Num("took_ms") / 1000
		case "pass complete":
			run.Values["bytes"] += l.Num("bytes")
		}
	}
	j, err := r.Journal(ctx)
	if err != nil {
		return report.Run{}, err
	}
	run.Values["reported s"] = float64(j.DownMillis) / 1000
	// What the machine makes of one command, for those who compare machines.
	began := time.Now()
	_, err = r.Standby.Run(ctx, "zfs", "list", r.Standby.Live())
	run.Values["one zfs list s"] = time.Since(began).Seconds()
	return run, err
}

// downInRestart stops and starts the server with as few processes around it as the
// sidecar has.
func downInRestart(ctx context.Context, r *faults.Rig) (report.Run, error) {
	p := watchReads(ctx, r.Standby)
	script := fmt.Sprintf("pg_ctl stop -s -w -m fast -D %[1]s && exec pg_ctl start -s -w -t 120 -D %[1]s -l %[2]s", world.DataDir, r.Standby.ServerLog())
	_, err := r.Standby.Run(ctx, world.AsPostgres("sh", "-c", script)...)
	if err == nil {
		err = r.W.Streaming(ctx, patience, r.Primary, r.Standby)
	}
	return report.Run{Seconds: p.stop().Seconds()}, err
}

// reads is a client that reads all the time.
type reads struct {
	cancel    context.CancelFunc
	done      chan struct{}
	last, gap time.Duration
}

// readInterval is what the down time may be too long by. More reads would make an
// emulated machine slower.
const readInterval = 50 * time.Millisecond

// watchReads reads all the time until it is stopped.
func watchReads(ctx context.Context, n *world.Node) *reads {
	ctx, cancel := context.WithCancel(ctx)
	r := &reads{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.run(ctx, n)
	}()
	return r
}

// stop returns the longest time between two answers.
func (r *reads) stop() time.Duration {
	r.cancel()
	<-r.done
	return r.gap
}

func (r *reads) run(ctx context.Context, n *world.Node) {
	began := time.Now()
	tick := time.NewTicker(readInterval)
	defer tick.Stop()
	var c *pgconn.PgConn
	for ctx.Err() == nil {
		if read(ctx, n, &c) == nil {
			now := time.Since(began)
			if r.last > 0 {
				r.gap = max(r.gap, now-r.last)
			}
			r.last = now
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	if c != nil {
		_ = c.Close(context.WithoutCancel(ctx)) // nobody is interested any more
	}
}

func read(ctx context.Context, n *world.Node, c **pgconn.PgConn) (err error) {
	if *c == nil || (*c).IsClosed() {
		if *c, err = n.Connect(ctx); err != nil {
			*c = nil
			return err
		}
	}
	if _, err = world.Query(ctx, *c, "select count(*) from pgbench_branches"); err != nil {
		_ = (*c).Close(ctx) // it is broken
		*c = nil
	}
	return err
}

var quantiles = []float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 1}

func printQuantiles(w io.Writer, rows []*report.Row) {
	head := []string{"s"}
	for _, q := range quantiles {
		head = append(head, fmt.Sprintf("%.0f %%", 100*q))
	}
	_, _ = fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, r := range rows {
		printQuantile(w, r.Name, r, func(run report.Run) float64 { return run.Seconds })
		for _, v := range valueNames(r) {
			printQuantile(w, r.Name+": "+v, r, func(run report.Run) float64 { return run.Values[v] })
		}
	}
}

func valueNames(r *report.Row) []string {
	names := map[string]bool{}
	for _, run := range r.Runs {
		for v := range run.Values {
			names[v] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func printQuantile(w io.Writer, name string, r *report.Row, of func(report.Run) float64) {
	var all []float64
	for _, run := range r.Good() {
		all = append(all, of(run))
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	cells := []string{name}
	for _, q := range quantiles {
		cells = append(cells, fmt.Sprintf("%.2f", all[int(math.Round(q*float64(len(all)-1)))]))
	}
	_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}
