// Command lab measures whole resyncs on real OpenZFS and PostgreSQL: a seed and
// increments through the real sidecars against zfs send | zfs recv, syncoid,
// rsync, pg_basebackup and pg_rewind (`lab compare`), and what is in an increment
// under different layouts and settings (`lab account`); how long a standby is down
// (`lab down`), and what WAL a seed makes the primary keep (`lab wal`). It runs in
// the lab; `make bench-lab`, `make bench-account`, `make bench-down` and `make
// bench-wal` start it there.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options of both commands.
type options struct {
	bin, out, scratch string
	sizes             []int64
	change            int64
	repeat            int
	only              string
	limit             time.Duration
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	if len(args) > 0 && args[0] == "cost" {
		return wrapped(ctx, args[1:])
	}
	o := options{bin: getenv("LAB_IN"), out: getenv("LAB_OUT")}
	if o.bin == "" || o.out == "" || len(args) == 0 {
		return fmt.Errorf("run it with `make bench-lab` or `make bench-account`")
	}
	f := flag.NewFlagSet("lab", flag.ContinueOnError)
	sizes := f.String("sizes", "64MiB,128MiB,256MiB", "sizes of the database, ascending")
	change := f.String("change", "32MiB", "what is written between two copies")
	f.IntVar(&o.repeat, "repeat", 3, "increments of each kind and size")
	f.StringVar(&o.only, "only", ".", "regular expression of the methods, or of the set-ups to account for")
	f.DurationVar(&o.limit, "limit", defaultLimit(args[0]), "begin with nothing new after that long")
	f.StringVar(&o.scratch, "scratch", "", "directory for the pools; by default they are in memory")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	for s := range strings.SplitSeq(*sizes, ",") {
		n, err := humanize.ParseBytes(s)
		if err != nil {
			return fmt.Errorf("size %q: %w", s, err)
		}
		o.sizes = append(o.sizes, int64(n))
	}
	n, err := humanize.ParseBytes(*change)
	if err != nil {
		return fmt.Errorf("change %q: %w", *change, err)
	}
	o.change = int64(n)
	switch args[0] {
	case "compare":
		return compare(ctx, o, stdout)
	case "account":
		return accounting(ctx, o, stdout)
	case "down":
		return downTimes(ctx, o, stdout)
	case "wal":
		return walDuringSeed(ctx, o, stdout)
	default:
		return fmt.Errorf("%s: want compare, account, down or wal", args[0])
	}
}

func (o options) result(name string) string { return filepath.Join(o.out, name) }

// defaultLimit: what an increment holds does not depend on the clock, and most of
// it is known after the first set-ups.
func defaultLimit(command string) time.Duration {
	if command == "account" {
		return 8 * time.Minute
	}
	return 30 * time.Minute
}
