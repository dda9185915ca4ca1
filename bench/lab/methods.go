package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

func kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// travelling are the datasets that a copy is made of: the WAL's is not, for none
// of the methods needs it while the primary has the WAL.
var travelling = []string{"", "/ts1"}

func methods() []method {
	return []method{
		{name: "pgresync", seed: seedByPgresync, update: updateByPgresync},
		{name: "zfs send | zfs recv", seed: pipeSeed, update: pipeUpdate},
		{name: "syncoid", seed: syncoid, update: syncoid},
		{name: "rsync -a --delete", seed: rsyncSeed, update: rsync},
		{name: "pg_basebackup", seed: baseBackup, update: baseBackup, times: 1},
		{name: "pg_rewind", seed: rewindSeed, update: rewind, times: 1},
	}
}

// timed runs a script on a node and takes the time.
func (c *comparison) timed(ctx context.Context, n *world.Node, script string, env ...string) (float64, error) {
	began := time.Now()
	_, err := n.Run(ctx, append(append([]string{"env"}, env...), "bash", "-o", "errexit", "-o", "pipefail", "-c", script)...)
	return time.Since(began).Seconds(), err
}

func (c *comparison) snapshot(ctx context.Context) (string, error) {
	name := "@bench" + strconv.Itoa(c.serial)
	_, err := c.db1.Run(ctx, "zfs", "snapshot", "-r", c.db1.Live()+name)
	return name, err
}

// pipeSeed also measures the source and the sink alone.
func pipeSeed(ctx context.Context, c *comparison) (outcome, error) {
	at, err := c.snapshot(ctx)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{values: map[string]float64{}}
	for i, child := range travelling {
		from := "zfs send -Lce " + c.db1.Live() + child + at
		spool := filepath.Join(c.spool(), "stream")
		source, err := c.timed(ctx, c.db1, from+" >/dev/null")
		if err != nil {
			return o, err
		}
		if _, err := c.timed(ctx, c.db1, from+" >"+spool); err != nil {
			return o, err
		}
		sink, err := c.timed(ctx, c.db2, fmt.Sprintf("zfs recv -u %s/sink%d <%s", c.db2.Pool(), i, spool))
		if err != nil {
			return o, err
		}
		info, err := os.Stat(spool)
		if err != nil {
			return o, err
		}
		_ = os.Remove(spool)
		if _, err := c.db2.Run(ctx, "zfs", "destroy", "-r", fmt.Sprintf("%s/sink%d", c.db2.Pool(), i)); err != nil {
			return o, err
		}
		s, err := c.timed(ctx, c.db2, fmt.Sprintf("%s | %szfs recv -u %s/z%d", c.as("zfs-send")+from, c.as("zfs-recv"), c.db2.Pool(), i))
		if err != nil {
			return o, err
		}
		o.seconds += s
		o.values["transfer s"] += s
		o.values["source alone s"] += source
		o.values["sink alone s"] += sink
		o.values["bytes"] += float64(info.Size())
	}
	return o, nil
}

func (c *comparison) spool() string {
	if c.scratch != "" {
		return c.scratch
	}
	return os.TempDir()
}

func pipeUpdate(ctx context.Context, c *comparison) (outcome, error) {
	before := "@bench" + strconv.Itoa(c.serial-1)
	at, err := c.snapshot(ctx)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{values: map[string]float64{}}
	for i, child := range travelling {
		from := fmt.Sprintf("zfs send -Lce -i %s %s%s%s", before, c.db1.Live(), child, at)
		s, err := c.timed(ctx, c.db2, fmt.Sprintf("%s | %szfs recv -u %s/z%d", c.as("zfs-send")+from, c.as("zfs-recv"), c.db2.Pool(), i))
		if err != nil {
			return o, err
		}
		size, err := c.db1.Run(ctx, "bash", "-o", "pipefail", "-c", from+" | wc -c")
		if err != nil {
			return o, err
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(size), 64)
		if err != nil {
			return o, err
		}
		o.seconds += s
		o.values["transfer s"] += s
		o.values["bytes"] += n
	}
	return o, nil
}

// syncoid takes its own snapshots; a second run is an increment.
func syncoid(ctx context.Context, c *comparison) (outcome, error) {
	tools := filepath.Join(c.bin, "bench-tools")
	o := outcome{values: map[string]float64{}}
	for i, child := range travelling {
		script := fmt.Sprintf("%sperl %s/usr/sbin/syncoid --quiet --no-privilege-elevation --sendoptions='L c e' --recvoptions=u %s %s/s%d",
			c.as("syncoid"), tools, c.db1.Live()+child, c.db2.Pool(), i)
		s, err := c.timed(ctx, c.db2, script, "PERL5LIB="+tools+"/usr/share/perl5")
		if err != nil {
			return o, err
		}
		o.seconds += s
	}
	return o, nil
}

// network is what has passed the node's link, both ways.
func network(n *world.Node) (sum float64, err error) {
	for _, dir := range []string{"rx", "tx"} {
		body, err := os.ReadFile(fmt.Sprintf("/sys/class/net/pgrw%d/statistics/%s_bytes", n.Index, dir))
		if err != nil {
			return 0, err
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(string(body)), 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

// counted books time and traffic of what f does.
func (c *comparison) counted(f func() (float64, error)) (outcome, error) {
	before, err := network(c.db2)
	if err != nil {
		return outcome{}, err
	}
	s, err := f()
	after, nerr := network(c.db2)
	return outcome{seconds: s, values: map[string]float64{"bytes": after - before}}, errors.Join(err, nerr)
}

const rsyncd = `use chroot = no
uid = 0
gid = 0
pid file = /run/pgresync/rsyncd.pid
[copy]
path = /copy
read only = no
`

// rsyncSeed makes a data set for the copy, a server for it, and copies.
func rsyncSeed(ctx context.Context, c *comparison) (outcome, error) {
	conf := filepath.Join(c.db2.Out(), "rsyncd.conf")
	if err := os.WriteFile(conf, []byte(rsyncd), 0o600); err != nil {
		return outcome{}, err
	}
	if _, err := c.db2.Run(ctx, "zfs", "create", "-o", "mountpoint=/copy", "-o", "recordsize=16K", c.db2.Pool()+"/copy"); err != nil {
		return outcome{}, err
	}
	if _, err := c.db2.Start(ctx, "rsyncd", c.libraries(), c.rsync(), "--daemon", "--no-detach", "--config="+conf); err != nil {
		return outcome{}, err
	}
	err := world.Until(ctx, "rsync's server", time.Minute, func(ctx context.Context) (bool, string) {
		_, err := c.db1.Run(ctx, "env", "LD_LIBRARY_PATH="+c.libraries()["LD_LIBRARY_PATH"], c.rsync(), "rsync://"+c.db2.Address()+"/copy/")
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return outcome{}, err
	}
	return rsync(ctx, c)
}

func (c *comparison) rsync() string { return filepath.Join(c.bin, "bench-tools/usr/bin/rsync") }

func (c *comparison) libraries() map[string]string {
	return map[string]string{"LD_LIBRARY_PATH": filepath.Join(c.bin, "bench-tools/usr/lib/x86_64-linux-gnu")}
}

// rsync copies in PostgreSQL's backup mode, as a copy of files needs it.
func rsync(ctx context.Context, c *comparison) (outcome, error) {
	conn, err := c.db1.Connect(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return c.counted(func() (float64, error) {
		began := time.Now()
		if _, err := world.Query(ctx, conn, "select pg_backup_start('rsync', true)"); err != nil {
			return 0, err
		}
		script := fmt.Sprintf("%[1]s -a --delete /srv/pg/ rsync://%[2]s/copy/pg/; %[1]s -a --delete /srv/ts1/ rsync://%[2]s/copy/ts1/", c.as("rsync")+c.rsync(), c.db2.Address())
		_, err := c.timed(ctx, c.db1, script, "LD_LIBRARY_PATH="+c.libraries()["LD_LIBRARY_PATH"])
		_, serr := world.Query(ctx, conn, "select pg_backup_stop(false)")
		return time.Since(began).Seconds(), errors.Join(err, serr)
	})
}

// baseBackup copies everything, every time.
func baseBackup(ctx context.Context, c *comparison) (outcome, error) {
	c.target = fmt.Sprintf("/copy/%d", c.serial)
	script := "zfs list tank2/copy >/dev/null 2>&1 || zfs create -o mountpoint=/copy -o recordsize=16K tank2/copy; rm -rf /copy/*; install -d -o postgres -m 0700 " + c.target
	if _, err := c.timed(ctx, c.db2, script); err != nil {
		return outcome{}, err
	}
	return c.counted(func() (float64, error) {
		began := time.Now()
		_, err := c.db2.Run(ctx, c.costing("pg_basebackup", "pg_basebackup", "-h", c.db1.Address(), "-U", "replicator", "-c", "fast",
			"-D", c.target+"/data", "-T", "/srv/ts1/space="+c.target+"/ts1", "--waldir", c.target+"/wal")...)
		return time.Since(began).Seconds(), err
	})
}

// rewindSeed makes the copy that is to be rewound: a standby that was promoted by
// mistake and written to. It keeps its WAL: pg_rewind fails where what was written
// since the last common checkpoint is gone.
func rewindSeed(ctx context.Context, c *comparison) (outcome, error) {
	o, err := baseBackup(ctx, c)
	if err != nil {
		return o, err
	}
	data := c.target + "/data"
	for _, step := range [][]string{
		world.AsPostgres("bash", "-c", "printf '%s\\n' \"primary_conninfo = 'host="+c.db1.Address()+" user=replicator'\" 'wal_keep_size = 2GB' >>"+data+"/postgresql.auto.conf; touch "+data+"/standby.signal"),
		world.AsPostgres("pg_ctl", "start", "-w", "-t", "120", "-D", data, "-l", c.db2.ServerLog()),
		world.AsPostgres("pg_ctl", "promote", "-w", "-D", data),
		world.AsPostgres("psql", "-qAtc", "create table only_here as select generate_series(1, 1000) as n"),
		world.AsPostgres("pg_ctl", "stop", "-w", "-m", "fast", "-D", data),
	} {
		if _, err := c.db2.Run(ctx, step...); err != nil {
			return o, err
		}
	}
	return o, nil
}

func rewind(ctx context.Context, c *comparison) (outcome, error) {
	return c.counted(func() (float64, error) {
		began := time.Now()
		_, err := c.db2.Run(ctx, c.costing("pg_rewind", "pg_rewind", "-D", c.target+"/data",
			"--source-server", "host="+c.db1.Address()+" user=postgres dbname=postgres")...)
		return time.Since(began).Seconds(), err
	})
}
