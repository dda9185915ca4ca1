package world

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Streaming waits until the standbys stream from the primary, as both sides say.
func (w *World) Streaming(ctx context.Context, limit time.Duration, primary *Node, standbys ...*Node) error {
	for _, s := range standbys {
		err := Until(ctx, s.Name+" to stream from "+primary.Name, limit, func(ctx context.Context) (bool, string) {
			there, err := s.SQL(ctx, "select status, sender_host from pg_stat_wal_receiver")
			if err != nil || there != "streaming|"+primary.Address() {
				return false, fmt.Sprint(there, " ", err)
			}
			here, err := primary.SQL(ctx, "select state from pg_stat_replication where application_name = '"+s.Name+"' and state = 'streaming'")
			return err == nil && here == "streaming", fmt.Sprint(here, " ", err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SameRows compares the rows of all nodes at one position of the log. load, the
// only writer, is paused meanwhile; it may be nil.
func (w *World) SameRows(ctx context.Context, limit time.Duration, load *Process, primary *Node, standbys ...*Node) (string, error) {
	if load != nil {
		load.Pause()
		defer load.Resume()
	}
	// A commit that was on its way when the writer was paused still counts. Who waits for
	// a row of another of the writer's transactions waits until the writer goes on.
	err := Until(ctx, "quiet on "+primary.Name, limit, func(ctx context.Context) (bool, string) {
		busy, err := primary.SQL(ctx, `select query from pg_stat_activity
			where application_name = 'pgbench' and state = 'active' and wait_event_type is distinct from 'Lock'`)
		return err == nil && busy == "", fmt.Sprint(busy, err)
	})
	if err != nil {
		return "", err
	}
	at, err := primary.SQL(ctx, "select pg_current_wal_lsn()")
	if err != nil {
		return "", err
	}
	rows := make([]string, 1+len(standbys))
	g, gctx := errgroup.WithContext(ctx)
	for i, n := range append([]*Node{primary}, standbys...) {
		g.Go(func() error {
			if n != primary {
				if err := n.Replayed(gctx, limit, at); err != nil {
					return err
				}
			}
			var err error
			rows[i], err = n.Fingerprint(gctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	for i, s := range standbys {
		if rows[i+1] != rows[0] {
			return "", fmt.Errorf("rows on %s differ from those on %s at %s:\n%s\n%s", s.Name, primary.Name, at, rows[i+1], rows[0])
		}
	}
	return rows[0], nil
}

// Replayed waits until a standby has replayed the log up to lsn.
func (n *Node) Replayed(ctx context.Context, limit time.Duration, lsn string) error {
	return Until(ctx, n.Name+" to replay up to "+lsn, limit, func(ctx context.Context) (bool, string) {
		got, err := n.SQL(ctx, "select pg_last_wal_replay_lsn() >= '"+lsn+"', pg_last_wal_replay_lsn()")
		return err == nil && strings.HasPrefix(got, "t"), fmt.Sprint(got, err)
	})
}

// Amcheck has PostgreSQL verify the structure of the node's tables and indexes, and
// the rows behind the indexes: those of the load, or every one with the catalogues,
// which takes an emulated machine a minute.
func (n *Node) Amcheck(ctx context.Context, all bool) error {
	argv := []string{"pg_amcheck", "-d", "postgres", "--heapallindexed"}
	if !all {
		argv = append(argv, "--schema", "public")
	}
	_, err := n.Run(ctx, AsPostgres(argv...)...)
	return err
}
