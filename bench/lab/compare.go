package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/world"
)

// method is one way to make a copy and to bring it up to date.
type method struct {
	name string
	// seed copies all, update what changed since. Nothing but the copying is in the
	// values' "seconds", "bytes" and "down".
	seed, update func(ctx context.Context, c *comparison) (outcome, error)
	// times limits the updates that are measured; 0 for as many as are wished.
	times int
}

// outcome is one measurement.
type outcome struct {
	seconds float64
	values  map[string]float64
	costs   []report.Process
}

// comparison is a primary and a node that receives copies of it.
type comparison struct {
	options
	w        *world.World
	db1, db2 *world.Node
	rep      *report.Report
	log      io.Writer
	began    time.Time
	changes  uint64
	grown    int64 // bytes of documents
	broker   *broker
	target   string // of rsync and pg_basebackup, below db2's mounts
	serial   int
}

func compare(ctx context.Context, o options, stdout io.Writer) (err error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	c := &comparison{options: o, log: stdout, began: time.Now()}
	c.rep = &report.Report{Title: "resyncs, in the lab", At: time.Now().UTC().Truncate(time.Second), Environment: report.Environment()}
	if o.scratch != "" {
		if err := os.MkdirAll(o.scratch, 0o750); err != nil {
			return err
		}
		if o.scratch, err = os.MkdirTemp(o.scratch, "pools-"); err != nil {
			return err
		}
	}
	greatest := o.sizes[len(o.sizes)-1]
	c.w, err = world.New(ctx, world.Options{
		Nodes: []string{"db1", "db2"}, Bin: o.bin, Out: o.out, Scratch: o.scratch, PoolSize: 4*greatest + 3<<30,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.w.Close()) }() //nolint:contextcheck // what was begun is taken down, whatever became of ctx
	c.db1, c.db2 = c.w.Node("db1"), c.w.Node("db2")
	if err := c.db1.InitPrimary(ctx); err != nil {
		return err
	}
	for _, size := range o.sizes {
		if err := c.grow(ctx, size); err != nil {
			return err
		}
		for _, m := range methods() {
			if !only.MatchString(m.name) {
				continue
			}
			if time.Since(c.began) > o.limit {
				c.say("out of time: %s of %s and all after it are left out", m.name, humanize.IBytes(uint64(size)))
				return c.rep.Table(stdout, "", "")
			}
			if err := c.one(ctx, m, size); err != nil {
				return err
			}
		}
	}
	return c.rep.Table(stdout, "", "")
}

// grow adds documents until the database has the size; the changes that were
// measured meanwhile count.
func (c *comparison) grow(ctx context.Context, to int64) error {
	c.say("database of %s", humanize.IBytes(uint64(to)))
	var err error
	if c.grown == 0 {
		err = c.db1.Fill(ctx, 1, to)
	} else if to > c.grown {
		err = c.db1.AddDocuments(ctx, uint64(1000+to>>20), to-c.grown)
	}
	if err != nil {
		return err
	}
	c.grown = max(c.grown, to)
	_, err = c.db1.SQL(ctx, "checkpoint")
	return err
}

// one measures a method at one size. What it cannot do is a result, too.
func (c *comparison) one(ctx context.Context, m method, size int64) error {
	if err := c.resetPool(ctx); err != nil {
		return err
	}
	c.serial++
	if !c.book(ctx, "seed", m.name, size, func() (outcome, error) { return m.seed(ctx, c) }) {
		return c.settle(ctx)
	}
	times := c.repeat
	if m.times > 0 {
		times = min(times, m.times)
	}
	for range times {
		c.changes++
		if err := c.db1.AddDocuments(ctx, c.changes, c.change); err != nil {
			return err
		}
		c.grown += c.change
		if _, err := c.db1.SQL(ctx, "checkpoint"); err != nil {
			return err
		}
		c.serial++
		if !c.book(ctx, "increment", m.name, size, func() (outcome, error) { return m.update(ctx, c) }) {
			break
		}
	}
	return c.settle(ctx)
}

func (c *comparison) book(ctx context.Context, group, name string, size int64, f func() (outcome, error)) bool {
	before := report.BusySeconds()
	o, err := f()
	busy := report.BusySeconds() - before
	costs, cerr := c.booked()
	err = errors.Join(err, cerr)
	run := report.Run{Seconds: o.seconds, Values: o.values, Processes: append(o.costs, costs...)}
	if err != nil {
		run.Error = err.Error()
	} else {
		run.Values["machine busy s"] = busy
	}
	c.say("%-9s %-28s %8.2f s %v %v %v", group, name, o.seconds, run.Values, run.Processes, run.Error)
	row := c.row(group, name, size)
	row.Runs = append(row.Runs, run)
	if err := c.rep.Save(c.result("lab.json")); err != nil {
		c.say("%v", err)
	}
	return err == nil && ctx.Err() == nil
}

func (c *comparison) row(group, name string, size int64) *report.Row {
	for _, r := range c.rep.Rows {
		if r.Group == group && r.Name == name && r.Bytes == size {
			return r
		}
	}
	r := &report.Row{Group: group, Name: name, Bytes: size, Params: map[string]float64{"database MiB": float64(size >> 20), "change MiB": float64(c.change >> 20)}}
	c.rep.Rows = append(c.rep.Rows, r)
	return r
}

func (c *comparison) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.log, "%6.1fs "+format+"\n", append([]any{time.Since(c.began).Seconds()}, args...)...)
}

// settle ends what the method left running.
func (c *comparison) settle(ctx context.Context) error {
	if c.broker != nil {
		err := c.broker.close(ctx)
		c.broker = nil
		return err
	}
	return nil
}

// resetPool gives db2 an empty pool.
func (c *comparison) resetPool(ctx context.Context) error {
	pids, err := c.db2.PIDs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		_ = kill(pid) // it may have ended meanwhile
	}
	list, err := c.db2.Run(ctx, "bash", "-c", "zpool list -vHP "+c.db2.Pool()+" | awk 'NR==2 {print $1}'")
	if err != nil {
		return err
	}
	if filepath.Base(list) != c.db2.Pool() {
		return fmt.Errorf("pool of %s: unexpected device %q", c.db2.Name, list)
	}
	info, err := os.Stat(list)
	if err != nil {
		return err
	}
	err = world.Until(ctx, "the end of db2's pool", time.Minute, func(ctx context.Context) (bool, string) {
		_, err := c.db2.Run(ctx, "zpool", "destroy", "-f", c.db2.Pool())
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return err
	}
	if err := errors.Join(os.Truncate(list, 0), os.Truncate(list, info.Size())); err != nil {
		return err
	}
	_, err = c.db2.Run(ctx, "zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", "-O", "atime=off", c.db2.Pool(), list)
	return err
}
