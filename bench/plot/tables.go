package main

import (
	"fmt"
	"io"
	"slices"

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
		if r.Group(g)[0].Params["database MiB"] == 0 {
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
