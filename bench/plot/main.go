// Command plot draws the results of the benchmarks as SVG files.
//
//	plot --out docs/performance native.json lab.json account.json
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgresync/pgresync/bench/report"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "plot: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	f := flag.NewFlagSet("plot", flag.ContinueOnError)
	tables := f.Bool("tables", false, "print tables for a page, too")
	out := f.String("out", ".", "directory for the drawings")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return errors.New("which results? name the JSON files of the benchmarks")
	}
	for _, path := range f.Args() {
		rep, err := report.Load(path)
		if err != nil {
			return err
		}
		if *tables {
			printTables(os.Stdout, rep)
		}
		for name, drawing := range drawings(rep) {
			if err := os.WriteFile(filepath.Join(*out, name+".svg"), []byte(drawing), 0o644); err != nil { //nolint:gosec // for everybody
				return err
			}
		}
	}
	return nil
}

// drawings are those that the groups of a report allow.
func drawings(r *report.Report) map[string]string {
	out := map[string]string{}
	if rows := r.Group("comparison"); len(rows) > 0 {
		out["comparison-rate"] = rates("What the data path carries, MiB/s (median, least and most)", rows)
		out["comparison-cpu"] = cpu("CPU seconds per GiB, by process", rows)
	}
	if rows := r.Group("consumer"); len(rows) > 0 {
		out["consumer-rate"] = rates("Reading what is stored, MiB/s", append(r.Group("apart"), rows...))
	}
	for _, sweep := range []struct{ group, param, title string }{
		{"part", "part MiB", "Size of the parts, MiB"},
		{"window", "window MiB", "Window, MiB"},
		{"chunk", "chunk KiB", "Size of the chunks, KiB"},
		{"flight", "in flight MiB", "Bytes in flight, MiB"},
		{"part, 10 ms", "part MiB", "Size of the parts, MiB, on a line of 10 ms there and back"},
		{"flight, 10 ms", "in flight MiB", "Bytes in flight, MiB, on a line of 10 ms there and back"},
		{"pull, 10 ms", "pull MiB", "Each of two pull requests, MiB, on a line of 10 ms there and back"},
		{"paced", "source MiB/s", "Rate of the source, MiB/s"},
	} {
		if rows := r.Group(sweep.group); len(rows) > 0 {
			out["sweep-"+strings.NewReplacer(", ", "-", " ", "").Replace(sweep.group)] = swept(sweep.title, sweep.param, rows)
		}
	}
	if rows := r.Group("readers"); len(rows) > 0 {
		out["readers"] = readers(rows)
	}
	if rows := r.Group("down"); len(rows) > 0 {
		out["down"] = quantiles("Seconds in which the standby answers no read, by share of the runs", rows)
	}
	if rows := r.Group("wal"); len(rows) > 0 {
		out["wal"] = overTime("Size of pg_wal on the primary while a standby is seeded, MiB", "pg_wal MiB", rows)
	}
	if rows := r.Group("seed"); len(rows) > 0 {
		out["lab-seed-seconds"] = bySize("Seed: seconds", rows, func(row *report.Row) report.Spread { return row.Seconds() })
	}
	if rows := r.Group("increment"); len(rows) > 0 && rows[0].Params != nil {
		out["lab-increment-seconds"] = bySize("A change of constant size: seconds", rows, func(row *report.Row) report.Spread { return row.Seconds() })
		out["lab-increment-mib"] = bySize("A change of constant size: MiB moved", rows, func(row *report.Row) report.Spread {
			s := row.Value("bytes")
			return report.Spread{Median: s.Median / (1 << 20), Min: s.Min / (1 << 20), Max: s.Max / (1 << 20)}
		})
	} else if len(rows) > 0 {
		out["account"] = classes("What an increment holds, MiB, for the same 600 transactions", rows)
	}
	return out
}
