package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

// The database is as large as an emulated machine fills it in a few seconds.
const (
	scale     = 2
	documents = 48 << 20
	rate      = 10 // transactions per second
	patience  = 5 * time.Minute
)

// parts of a size for a stream of this size.
var parts = map[string]string{"PGRESYNC_PART_SIZE": "4MiB", "PGRESYNC_WINDOW": "32MiB"}

// demo is one run of the demonstration.
type demo struct {
	say      *narrator
	bin, out string

	w             *world.World
	db1, db2, db3 *world.Node
	load          *world.Process
	events        *follower
	size          string
	rows          []row
}

func (d *demo) run(ctx context.Context) (err error) {
	d.say.heading("Three nodes, each with its own network, mounts and ZFS pool")
	d.w, err = world.New(ctx, world.Options{Nodes: []string{"db1", "db2", "db3"}, Bin: d.bin, Out: d.out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.w.Close()) }()
	d.db1, d.db2, d.db3 = d.w.Node("db1"), d.w.Node("db2"), d.w.Node("db3")
	for _, chapter := range []func(context.Context) error{d.primary, d.seed, d.loseSlot, d.diverge, d.compare} {
		if err := chapter(ctx); err != nil {
			return fmt.Errorf("%w\nlogs are in %s", err, d.out)
		}
	}
	d.events.close()
	d.table()
	return nil
}

// primary makes the cluster and puts it under load.
func (d *demo) primary(ctx context.Context) error {
	d.say.on("db1", "address %s, pool %s; initdb with data, WAL and a tablespace in datasets of their own", d.db1.Address(), d.db1.Pool())
	if err := d.db1.InitPrimary(ctx); err != nil {
		return err
	}
	d.say.on("db1", "fills the database")
	if err := d.db1.Fill(ctx, scale, documents); err != nil {
		return err
	}
	size, err := d.db1.SQL(ctx, "select pg_database_size('postgres')")
	if err != nil {
		return err
	}
	d.size = size
	if _, err := d.db1.StartSidecar(ctx, world.Primary, parts); err != nil {
		return err
	}
	if d.load, err = d.db1.StartLoad(ctx, rate); err != nil {
		return err
	}
	d.say.on("db1", "database of %s under pgbench load; the primary sidecar runs, with NATS embedded", bytesText(size))
	d.events, err = follow(ctx, d.say)
	return err
}

// seed brings two standbys up from nothing.
func (d *demo) seed(ctx context.Context) error {
	d.say.heading("Two empty nodes: both seed themselves, at once, from one upload")
	mark := d.events.mark()
	if _, err := d.db2.StartSidecar(ctx, world.Secondary, nil); err != nil {
		return err
	}
	if _, err := d.db3.StartSidecar(ctx, world.Secondary, world.OtherMounts()); err != nil {
		return err
	}
	d.say.on("db2", "address %s, pool %s, empty; mounts where the primary does", d.db2.Address(), d.db2.Pool())
	d.say.on("db3", "address %s, pool %s, empty; mounts below /data instead of /srv", d.db3.Address(), d.db3.Pool())
	for _, n := range []*world.Node{d.db2, d.db3} {
		r, err := d.events.rejoined(ctx, n.Name, mark)
		if err != nil {
			return err
		}
		d.rows = append(d.rows, row{"seed of " + n.Name, r})
	}
	return d.oneUpload()
}

// oneUpload counts the runs of zfs send.
func (d *demo) oneUpload() error {
	full := map[string]int{}
	for _, l := range d.db1.Logged(world.Primary, 0, "zfs send starts") {
		if l.Str("base") == "" {
			full[l.Str("target")]++
		}
	}
	var most int
	for _, n := range full {
		most = max(most, n)
	}
	d.say.on("db1", "ran zfs send %d times for the seeds of both standbys: once for each dataset", len(full))
	if len(full) != 2 || most != 1 {
		return fmt.Errorf("the primary sent full streams %v, want one for each of two datasets", full)
	}
	return nil
}

// loseSlot takes the WAL away that a standby needs.
func (d *demo) loseSlot(ctx context.Context) error {
	d.say.heading("db2 falls behind: cut off, its slot dropped, its WAL recycled. Nobody tells it")
	mark := d.events.mark()
	d.say.on("db2", "network cut")
	if err := d.db2.Unplug(ctx); err != nil {
		return err
	}
	if err := d.db1.LoseSlot(ctx, d.db2); err != nil {
		return err
	}
	d.say.on("db1", "slot of db2 dropped, and the WAL that db2 needs is gone")
	if err := d.db2.Plug(ctx); err != nil {
		return err
	}
	d.say.on("db2", "network back")
	_, err := d.events.wait(ctx, "db2 to notice", mark, func(e messages.Event) bool {
		return e.Type == messages.EventVerdict && e.Node == "db2" && e.Verdict == messages.VerdictResync
	})
	if err != nil {
		return err
	}
	r, err := d.events.rejoined(ctx, "db2", mark)
	d.rows = append(d.rows, row{"db2, WAL gone", r})
	return err
}

// diverge promotes a standby by mistake.
func (d *demo) diverge(ctx context.Context) error {
	d.say.heading("db3 diverges: promoted by mistake, and written to")
	mark := d.events.mark()
	if _, err := d.db3.SQL(ctx, "select pg_promote()"); err != nil {
		return err
	}
	if _, err := d.db3.SQL(ctx, "create table only_here as select 42 as answer"); err != nil {
		return err
	}
	d.say.on("db3", "promoted, and a table made that no other node has")
	_, err := d.events.wait(ctx, "db3 to ask for its operator", mark, func(e messages.Event) bool {
		return e.Type == messages.EventVerdict && e.Node == "db3" && e.Reason == messages.ReasonPromoted
	})
	if err != nil {
		return err
	}
	d.say.on("", "$ nats pub pgresync.main.trigger.resync.db3 ''")
	if _, err := d.w.NATS(ctx, "pub", "pgresync.main.trigger.resync.db3", ""); err != nil {
		return err
	}
	r, err := d.events.rejoined(ctx, "db3", mark)
	if err != nil {
		return err
	}
	d.rows = append(d.rows, row{"db3, diverged", r})
	return d.keptAside(ctx)
}

// keptAside finds the diverged data.
func (d *demo) keptAside(ctx context.Context) error {
	return world.Until(ctx, "the diverged data to be set aside", patience, func(ctx context.Context) (bool, string) {
		list, err := d.db3.Run(ctx, "zfs", "list", "-H", "-d", "1", "-o", "name", d.db3.Pool())
		for name := range strings.SplitSeq(list, "\n") {
			if strings.HasPrefix(name, d.db3.Live()+".pgresync-diverged-") {
				d.say.on("db3", "its diverged data is kept as %s", name)
				return true, ""
			}
		}
		return false, fmt.Sprint(list, err)
	})
}

// compare looks whether all is as it was promised.
func (d *demo) compare(ctx context.Context) error {
	d.say.heading("Are they the same?")
	if err := d.w.Streaming(ctx, patience, d.db1, d.db2, d.db3); err != nil {
		return err
	}
	rows, err := d.w.SameRows(ctx, patience, d.load, d.db1, d.db2, d.db3)
	if err != nil {
		return err
	}
	d.say.on("", "all three nodes hold the same rows (%s; checksums compared), and both standbys stream", world.Counts(rows))
	for _, r := range d.rows {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

func bytesText(s string) string {
	var n uint64
	if _, err := fmt.Sscan(s, &n); err != nil {
		return s
	}
	return humanize.IBytes(n)
}
