// Command native measures the data plane without ZFS: a file travels through
// the sidecars' own code (stream.Hub in one process, stream.Reader in others, a
// nats-server as a process of its own) and, in the same run and side by side,
// through what it has to be compared with. `make bench` runs it.
//
// Called as `native worker …` it is one of the processes under measurement.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/pgresync/pgresync/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	run := runBench
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "worker" {
		run, args = runWorker, args[1:]
	}
	err := run(ctx, args, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options of the orchestrating process.
type options struct {
	size, sweep bytes
	repeat      int
	only        string
	nats        string
	server      string
	dir, out    string
	profile     string
}

// bytes is a flag in humanize's notation.
type bytes int64

func (b *bytes) String() string { return humanize.IBytes(uint64(*b)) }

func (b *bytes) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	*b = bytes(n)
	return err
}

func runBench(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	o := options{size: 1 << 30, sweep: 512 << 20}
	f := flag.NewFlagSet("native", flag.ContinueOnError)
	f.Var(&o.size, "size", "bytes of the comparison with other ways")
	f.Var(&o.sweep, "sweep", "bytes of the groups that vary a parameter")
	f.IntVar(&o.repeat, "repeat", 3, "repetitions, interleaved")
	f.StringVar(&o.only, "only", ".", "regular expression of the cases to run, as \"group: case\"")
	f.StringVar(&o.nats, "nats", "bin/nats", "the stock nats command")
	f.StringVar(&o.server, "nats-server", "bin/nats-server", "the server")
	f.StringVar(&o.dir, "dir", "", "directory for files and the server's store (a temporary one)")
	f.StringVar(&o.out, "out", "", "file for the results, JSON")
	f.StringVar(&o.profile, "profile", "", "directory for CPU profiles of writer, reader and server; the figures suffer from it")
	if err := f.Parse(args); err != nil {
		return err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "pgresync-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{options: o, dir: dir, log: os.Stderr}
	rep, err := b.run(ctx, only)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := rep.Save(o.out); err != nil {
			return err
		}
	}
	return rep.Table(stdout, "comparison", "cat | cat")
}

func newReport() *report.Report {
	return &report.Report{Title: "data path, native", Environment: report.Environment()}
}
