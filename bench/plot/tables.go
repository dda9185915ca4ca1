package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/pgresync/pgresync/bench/account"
	"github.com/pgresync/pgresync/bench/report"
)

// printTables prints what docs/performance.md shows of a report.
func printTables(w io.Writer, r *report.Report) {
	var groups []string
	for _, row := range r.Rows {
		if !slices.Contains(groups, row.Group) {
			groups = append(groups, row.Group)
		}
	}
	for _, g := range groups {
		_, _ = fmt.Fprintln(w)
		switch rows := r.Group(g); {
		case rows[0].Params == nil:
			printClasses(w, rows)
			continue
		case rows[0].Params["database MiB"] == 0:
			r.Markdown(w, g)
			continue
		}
		for _, value := range []string{"seconds", "transfer s", "down s", "bytes"} {
			r.Matrix(w, g, g+": "+value, func(row *report.Row) string { return cell(row, value) })
			_, _ = fmt.Fprintln(w)
		}
	}
}

func cell(row *report.Row, value string) string {
	if len(row.Good()) == 0 {
		return "failed"
	}
	switch s := row.Value(value); {
	case value == "seconds":
		s = row.Seconds()
		return fmt.Sprintf("%.1f (%.1f–%.1f)", s.Median, s.Min, s.Max)
	case s.Max == 0:
		return ""
	case value == "bytes":
		return fmt.Sprintf("%.1f MiB", s.Median/(1<<20))
	default:
		return fmt.Sprintf("%.1f (%.1f–%.1f)", s.Median, s.Min, s.Max)
	}
}

// printClasses prints what the increments hold, MiB, one set-up a line.
func printClasses(w io.Writer, rows []*report.Row) {
	mib := func(row *report.Row, classes ...account.Class) string {
		var sum float64
		for _, c := range classes {
			sum += row.Value(string(c)).Median
		}
		return fmt.Sprintf("%.2f", sum/(1<<20))
	}
	_, _ = fmt.Fprintln(w, "| set-up | all, MiB | relations and their maps | WAL | unlogged, temporary | logs | the rest |\n|---|---|---|---|---|---|---|")
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "| %s | **%.2f** | %s | %s | %s | %s | %s |\n", r.Name, float64(r.Bytes)/(1<<20),
			mib(r, account.Relations, account.Maps), mib(r, account.WAL), mib(r, account.Unlogged, account.Temporary), mib(r, account.Logs),
			mib(r, account.Status, account.Other, account.Unnamed, account.Records))
	}
}
