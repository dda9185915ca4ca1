package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgresync/pgresync/bench/account"
	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/world"
)

// The database and the work are the same in every set-up.
const (
	scale        = 3   // of pgbench: 45 MiB
	transactions = 300 // of each of two clients
)

// setup is one way to lay a cluster out.
type setup struct {
	name string
	// properties of the data's dataset, beyond recordsize=16K and compression=lz4.
	properties []string
	// wal has the WAL in a dataset of its own; send has it travel from there.
	wal, send bool
	settings  string
	// checkpoints is how many there are during the work; at least the last one.
	checkpoints int
	// extra is SQL that runs as part of the work.
	extra string
	// idle does without pgbench: only extra is the work.
	idle bool
	// load replaces pgbench's initialisation.
	load string
}

// keep has PostgreSQL behave as it comes: 16 MiB segments, recycled, filled with zeros.
const keep = "wal_recycle = on\nwal_init_zero = on\nmin_wal_size = 80MB\nmax_wal_size = 1GB\ncheckpoint_timeout = 1h\nautovacuum = off\n"

func setups() []setup {
	const (
		noRecycle = "wal_recycle = off\n"
		noZero    = noRecycle + "wal_init_zero = off\n"
		logged    = "logging_collector = on\nlog_directory = 'log'\nlog_statement = all\n"
		spill     = "create unlogged table if not exists u as select g, repeat(md5(g::text), 8) as t from generate_series(1, 60000) g; " +
			"set temp_file_limit = -1; create temporary table x as select g, md5(g::text) as t from generate_series(1, 150000) g; " +
			"select count(*) from (select t from x order by t) s"
	)
	return []setup{
		{name: "WAL inside"},
		{name: "WAL apart", wal: true},
		{name: "WAL inside, wal_recycle=off", settings: noRecycle},
		{name: "WAL inside, wal_recycle=off, wal_init_zero=off", settings: noZero},
		{name: "WAL apart, PGRESYNC_SEND_WAL=always", wal: true, send: true},
		{name: "WAL apart, recordsize=8K", wal: true, properties: []string{"recordsize=8K"}},
		{name: "WAL apart, recordsize=128K", wal: true, properties: []string{"recordsize=128K"}},
		{name: "WAL inside, full_page_writes=off", settings: "full_page_writes = off\n"},
		{name: "WAL inside, 8 checkpoints", checkpoints: 8},
		{name: "WAL apart, 8 checkpoints", wal: true, checkpoints: 8},
		{name: "WAL apart, compression=zstd", wal: true, properties: []string{"compression=zstd"}},
		{name: "WAL apart, compression=off", wal: true, properties: []string{"compression=off"}},
		{name: "WAL apart, nothing but a first vacuum", wal: true, idle: true, extra: "vacuum pgbench_accounts", load: "dtG"},
		{name: "WAL apart, unlogged and temporary tables", wal: true, extra: spill},
		{name: "WAL apart, logs in PGDATA", wal: true, settings: logged},
		{name: "WAL apart, idle", wal: true, idle: true, extra: "select 1"},
		{name: "WAL apart, recordsize=32K", wal: true, properties: []string{"recordsize=32K"}},
		{name: "WAL inside, compression=zstd", properties: []string{"compression=zstd"}},
		{name: "WAL apart, recordsize=128K, compression=zstd", wal: true, properties: []string{"recordsize=128K", "compression=zstd"}},
		{name: "WAL apart, nothing but a first vacuum freeze", wal: true, idle: true, extra: "vacuum (freeze) pgbench_accounts", load: "dtG"},
	}
}

func accounting(ctx context.Context, o options, stdout io.Writer) (err error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	w, err := world.New(ctx, world.Options{Nodes: []string{"db1"}, Bin: o.bin, Out: o.out, Scratch: o.scratch})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }() //nolint:contextcheck // what was begun is taken down, whatever became of ctx
	rep := &report.Report{Title: "what is in an increment", At: time.Now().UTC().Truncate(time.Second), Environment: report.Environment()}
	start := time.Now()
	for _, s := range setups() {
		if time.Since(start) > o.limit {
			_, err := fmt.Fprintf(stdout, "\nout of time: %s and all after it are left out\n", s.name)
			return err
		}
		if !only.MatchString(s.name) {
			continue
		}
		began := time.Now()
		lines, err := s.run(ctx, w.Node("db1"))
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		rep.Rows = append(rep.Rows, s.row(lines))
		_, _ = fmt.Fprintf(stdout, "\n%s (%.0f s)\n", s.name, time.Since(began).Seconds())
		if err := errors.Join(account.Table(stdout, lines), rep.Save(o.result("account.json"))); err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) row(lines []account.Line) *report.Row {
	r := &report.Row{Group: "increment", Name: s.name}
	values := map[string]float64{}
	for _, l := range lines {
		values[string(l.Class)] = float64(l.Stored)
		r.Bytes += int64(l.Stored)
	}
	r.Runs = []report.Run{{Values: values}}
	return r
}

// run makes the cluster, takes a snapshot before and after the work, and reads
// what zfs send makes of the difference.
func (s *setup) run(ctx context.Context, n *world.Node) ([]account.Line, error) {
	if err := s.create(ctx, n); err != nil {
		return nil, err
	}
	// Sorted out once more with each set-up: what the load left in the WAL.
	if err := s.work(ctx, n); err != nil {
		return nil, err
	}
	if _, err := n.Run(ctx, "zfs", "snapshot", "-r", n.Live()+"@a"); err != nil {
		return nil, err
	}
	if err := s.work(ctx, n); err != nil {
		return nil, err
	}
	if _, err := n.Run(ctx, "zfs", "snapshot", "-r", n.Live()+"@b"); err != nil {
		return nil, err
	}
	lines, err := s.account(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := n.StopServer(ctx); err != nil {
		return nil, err
	}
	_, err = n.Run(ctx, "zfs", "destroy", "-r", n.Live())
	return lines, err
}

func (s *setup) create(ctx context.Context, n *world.Node) error {
	argv := []string{"zfs", "create", "-o", "mountpoint=/srv/pg"}
	// zfs create refuses a property that is named twice.
	properties := map[string]string{"recordsize": "16K", "compression": "lz4"}
	for _, p := range s.properties {
		name, value, _ := strings.Cut(p, "=")
		properties[name] = value
	}
	for name, value := range properties {
		argv = append(argv, "-o", name+"="+value)
	}
	if _, err := n.Run(ctx, append(argv, n.Live())...); err != nil {
		return err
	}
	var more []string
	if s.wal {
		if _, err := n.Run(ctx, "zfs", "create", "-o", "mountpoint=/srv/pgwal", "-o", "recordsize=128K", n.Live()+"/wal"); err != nil {
			return err
		}
		more = []string{"-X", "/srv/pgwal/wal"}
		if _, err := n.Run(ctx, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", "/srv/pgwal/wal"); err != nil {
			return err
		}
	}
	if _, err := n.Run(ctx, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", world.DataDir); err != nil {
		return err
	}
	if err := n.InitCluster(ctx, more...); err != nil {
		return err
	}
	script := fmt.Sprintf("cat >>%s/postgresql.conf <<'END'\n%s%s\nEND\n", world.DataDir, keep, s.settings)
	if _, err := n.Run(ctx, "bash", "-c", script); err != nil {
		return err
	}
	if err := n.StartServer(ctx); err != nil {
		return err
	}
	load := []string{"pgbench", "-i", "-q", "-s", strconv.Itoa(scale)}
	if s.load != "" {
		load = append(load, "-I", s.load)
	}
	_, err := n.Run(ctx, world.AsPostgres(load...)...)
	return err
}

// work is the same transactions in the same order, and a checkpoint at the end,
// as the bracket makes one.
func (s *setup) work(ctx context.Context, n *world.Node) error {
	if s.idle {
		// The first time nothing happens, so that the increment begins with the load.
		sql := "checkpoint"
		if out, _ := n.Run(ctx, "zfs", "list", "-H", "-t", "snapshot", "-o", "name", n.Live()+"@a"); out != "" {
			sql = s.extra + "; checkpoint"
		}
		return s.each(ctx, n, sql)
	}
	slices := max(1, s.checkpoints)
	for i := range slices {
		// Other accounts in each slice, and the same ones in each set-up.
		_, err := n.Run(ctx, world.AsPostgres("pgbench", "-n", "-c", "2", "-t", strconv.Itoa(transactions/slices), "--random-seed="+strconv.Itoa(i+1))...)
		if err == nil {
			err = s.each(ctx, n, s.extra+"; checkpoint")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each runs statements one by one, on one connection: vacuum and checkpoint
// refuse to be part of a transaction.
func (s *setup) each(ctx context.Context, n *world.Node, sql string) error {
	conn, err := n.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for statement := range strings.SplitSeq(sql, ";") {
		if _, err := world.Query(ctx, conn, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// account sums up over the datasets that travel.
func (s *setup) account(ctx context.Context, n *world.Node) ([]account.Line, error) {
	datasets := map[string]string{n.Live(): "/srv/pg"}
	if s.send {
		datasets[n.Live()+"/wal"] = "/srv/pgwal"
	}
	inside := strings.TrimSuffix(n.SocketDir(), "/run/postgresql")
	sums := map[account.Class]account.Line{}
	for _, dataset := range slices.Sorted(maps.Keys(datasets)) {
		out, err := n.Command("zfs", "send", "-Lce", "-i", dataset+"@a", dataset+"@b").Stream(ctx)
		if err != nil {
			return nil, err
		}
		stream, err := account.Read(out)
		if err := errors.Join(err, out.Close()); err != nil {
			return nil, err
		}
		files, err := account.Files(inside + datasets[dataset])
		if err != nil {
			return nil, err
		}
		for _, l := range stream.Sum(files) {
			sum := sums[l.Class]
			sum.Class = l.Class
			sum.Files += l.Files
			sum.Blocks += l.Blocks
			sum.Stored += l.Stored
			sum.Logical += l.Logical
			sums[l.Class] = sum
		}
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b account.Line) int { return int(int64(b.Stored) - int64(a.Stored)) }), nil
}
