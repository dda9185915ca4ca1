package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/faults"
	"github.com/pgresync/pgresync/e2e/world"
)

// walGroup is the rows' group, which bench/plot draws.
const walGroup = "wal"

const (
	// seedRate is what the network gives the standby, in tc's notation, so that a seed
	// lasts minutes: twice what walRate writes, or the standby would never catch up.
	seedRate = "8mbit"
	// walScript writes WAL without changing data: a database whose pages change again
	// and again looks the same to a slot, and less so to an emulated processor.
	walScript = "select pg_logical_emit_message(false, 'bench', repeat('wal ', 10000));\n"
	walRate   = 12 // transactions per second, of about 40 kB of WAL each
	// assumedRate is what whoever knows of such a line sets: at 50 MiB/s a database of
	// this size is taken for one that travels in seconds.
	assumedRate = "1MiB/s"
)

// walDuringSeed samples the size of pg_wal on the primary every second while a new
// standby is seeded over a slow network under load: with the slot reserved before
// the last of the converging passes, and before the seed.
func walDuringSeed(ctx context.Context, o options, stdout io.Writer) error {
	rep := newReport("WAL kept on the primary during a seed")
	ro := faults.RigOptions{Documents: o.sizes[0], Idle: true, PoolSize: 4*o.sizes[0] + 3<<30}
	return withRig(ctx, o, ro, stdout, func(r *faults.Rig) error {
		if err := tuneWAL(ctx, r); err != nil {
			return err
		}
		load, err := walLoad(ctx, o, r)
		if err != nil {
			return err
		}
		defer load.Kill9()
		for _, way := range []struct{ name, passes string }{
			{"slot reserved before the last pass", "5"},
			{"slot reserved before the seed", "1"},
		} {
			row := &report.Row{Group: walGroup, Name: way.name}
			rep.Rows = append(rep.Rows, row)
			if err := seedAndSample(ctx, r, way.passes, row, stdout); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			if err := rep.Save(o.result("wal.json")); err != nil {
				return err
			}
			summarize(stdout, row)
		}
		return nil
	})
}

// tuneWAL keeps what PostgreSQL holds by itself small beside what slots hold.
func tuneWAL(ctx context.Context, r *faults.Rig) error {
	for _, q := range []string{"alter system set max_wal_size = '64MB'", "alter system set min_wal_size = '32MB'", "alter system set max_slot_wal_keep_size = '4GB'", "select pg_reload_conf()"} {
		if _, err := r.Primary.SQL(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func walLoad(ctx context.Context, o options, r *faults.Rig) (*world.Process, error) {
	script := filepath.Join(o.out, "wal.sql")
	if err := os.WriteFile(script, []byte(walScript), 0o644); err != nil { //nolint:gosec // another user reads it
		return nil, err
	}
	return r.Primary.Start(ctx, "pgbench", nil, world.AsPostgres("pgbench", "-n", "-c", "2", "-T", "86400", "-R", strconv.Itoa(walRate),
		"-b", "tpcb-like@1", "-f", script+"@9")...)
}

func seedAndSample(ctx context.Context, r *faults.Rig, passes string, row *report.Row, stdout io.Writer) error {
	if err := r.Empty(ctx); err != nil {
		return err
	}
	// The lost copy's slot is another matter: this is a standby that is new.
	if _, err := r.Primary.SQL(ctx, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active"); err != nil {
		return err
	}
	if _, err := r.Primary.SQL(ctx, "checkpoint"); err != nil {
		return err
	}
	if err := r.Standby.Throttle(ctx, seedRate); err != nil {
		return err
	}
	s := sample(ctx, r, row)
	defer s.stop()
	mark := len(r.Standby.Log(world.Secondary))
	err := r.Follow(ctx, map[string]string{
		"PGRESYNC_CONVERGE_PASSES": passes, "PGRESYNC_CONVERGE_SHORT": "10s", "PGRESYNC_ASSUMED_RATE": assumedRate, "PGRESYNC_PROVE_TIMEOUT": "10m",
	})
	if err == nil {
		err = r.Converge(ctx, patience)
	}
	s.stop()
	err = errors.Join(err, r.Standby.Unthrottle(context.WithoutCancel(ctx)))
	for _, l := range r.Standby.Logged(world.Secondary, mark, "pass complete") {
		_, _ = fmt.Fprintf(stdout, "%s of %s in %.0f s\n", l.Str("kind"), humanize.IBytes(uint64(l.Num("bytes"))), l.Num("took_ms")/1000)
	}
	return err
}

// sampler measures pg_wal until it is stopped.
type sampler struct {
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
}

func (s *sampler) stop() {
	s.once.Do(s.cancel)
	<-s.done
}

func sample(ctx context.Context, r *faults.Rig, row *report.Row) *sampler {
	ctx, cancel := context.WithCancel(ctx) //nolint:gosec // stop calls it
	s := &sampler{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		began := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			if run, err := measure(ctx, r); err == nil {
				run.Seconds = time.Since(began).Seconds()
				row.Runs = append(row.Runs, run)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return s
}

const walSizes = `select (select sum(size) from pg_ls_waldir()),
	coalesce((select max(pg_current_wal_lsn() - restart_lsn) from pg_replication_slots), 0), pg_current_wal_lsn() - '0/0'`

func measure(ctx context.Context, r *faults.Rig) (report.Run, error) {
	out, err := r.Primary.SQL(ctx, walSizes)
	if err != nil {
		return report.Run{}, err
	}
	var size, held, written float64
	if _, err := fmt.Sscanf(out, "%f|%f|%f", &size, &held, &written); err != nil {
		return report.Run{}, fmt.Errorf("%q: %w", out, err)
	}
	return report.Run{Values: map[string]float64{"pg_wal MiB": size / (1 << 20), "held by slots MiB": held / (1 << 20), "written MiB": written / (1 << 20)}}, nil
}

func summarize(w io.Writer, row *report.Row) {
	if len(row.Runs) == 0 {
		return
	}
	last, first := row.Runs[len(row.Runs)-1], row.Runs[0]
	wal, held := row.Value("pg_wal MiB"), row.Value("held by slots MiB")
	_, _ = fmt.Fprintf(w, "| %s | %.0f s | %.0f MiB | %.0f MiB | %.0f MiB | %.0f MiB |\n", row.Name, last.Seconds,
		last.Values["written MiB"]-first.Values["written MiB"], wal.Median, wal.Max, held.Max)
}
