package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Markdown prints the rows of a group for a page.
func (r *Report) Markdown(w io.Writer, group string) {
	line(w, "| %s | seconds (least–most) | MiB/s | CPU s per GiB | each process: CPU s, peak MiB |\n|---|---|---|---|---|", group)
	for _, row := range r.Group(group) {
		if len(row.Good()) == 0 {
			line(w, "| %s | failed | | | |", plain(row.Name))
			continue
		}
		s := row.Seconds()
		line(w, "| %s | %.2f (%.2f–%.2f) | %.0f | %.1f | %s |", plain(row.Name), s.Median, s.Min, s.Max, row.Rate().Median,
			row.CPU().Median/(float64(row.Bytes)/(1<<30)), row.processes())
	}
}

// Matrix prints a number of every row of a group, sizes across: the rows of the
// lab have a name for the method and a size of the database.
func (r *Report) Matrix(w io.Writer, group, title string, of func(*Row) string) {
	var names []string
	var sizes []int64
	cells := map[string]string{}
	for _, row := range r.Group(group) {
		names, sizes = appendNew(names, row.Name), appendNew(sizes, row.Bytes)
		cells[fmt.Sprint(row.Name, row.Bytes)] = of(row)
	}
	heads, rules := []string{title}, "|---|"
	for _, size := range sizes {
		heads = append(heads, fmt.Sprintf("%d MiB", size>>20))
		rules += "---|"
	}
	line(w, "| %s |\n%s", strings.Join(heads, " | "), rules)
	for _, name := range names {
		row := []string{plain(name)}
		for _, size := range sizes {
			row = append(row, cells[fmt.Sprint(name, size)])
		}
		line(w, "| %s |", strings.Join(row, " | "))
	}
}

// plain is a name that does not end a cell.
func plain(name string) string { return strings.ReplaceAll(name, "|", `\|`) }

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}
