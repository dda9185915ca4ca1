package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table prints the rows. With a reference (group and name of a row) it has a
// column with the rates as multiples of that row's.
func (r *Report) Table(w io.Writer, refGroup, refName string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	ref := r.Find(refGroup, refName)
	reference := ""
	if ref != nil {
		reference = "\tof " + ref.Name
	}
	line(t, "group\tcase\tMiB\tseconds [min-max]\tMiB/s%s\tCPU s\teach process: CPU s, peak RSS MiB\tmore", reference)
	for _, row := range r.Rows {
		line(t, "%s\t%s\t%d\t%s\t%.0f%s\t%.2f\t%s\t%s", row.Group, row.Name, row.Bytes>>20, seconds(row), row.Rate().Median,
			row.ratio(ref), row.CPU().Median, row.processes(), row.more())
	}
	return t.Flush()
}

func line(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...) // Flush reports
}

func seconds(row *Row) string {
	if len(row.Good()) == 0 {
		return "failed"
	}
	s := row.Seconds()
	return fmt.Sprintf("%.2f [%.2f-%.2f]", s.Median, s.Min, s.Max)
}

func (r *Row) ratio(ref *Row) string {
	if ref == nil {
		return ""
	}
	return fmt.Sprintf("\t%.2f", r.Rate().Median/ref.Rate().Median)
}

func (r *Row) processes() string {
	var out []string
	for _, name := range r.Names() {
		cpu, rss := r.Process(name)
		out = append(out, fmt.Sprintf("%s %.2f %.0f", name, cpu.Median, rss.Max))
	}
	return strings.Join(out, ", ")
}

func (r *Row) more() string {
	var out []string
	names := map[string]bool{}
	for _, run := range r.Runs {
		for name := range run.Values {
			names[name] = true
		}
	}
	for _, name := range sorted(names) {
		out = append(out, fmt.Sprintf("%s %.4g", name, r.Value(name).Median))
	}
	for _, run := range r.Runs {
		if run.Error != "" {
			out = append(out, "FAILED: "+run.Error)
		}
	}
	return strings.Join(out, ", ")
}
