package zfsops

import (
	"fmt"
	"strconv"
	"strings"
)

// parseTable reads the output of -H: one row a line, tabs between n fields. A
// name with spaces is one field.
func parseTable(out []byte, n int) ([][]string, error) {
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != n {
			return nil, fmt.Errorf("unexpected output: %d fields instead of %d in line %q", len(fields), n, line)
		}
		rows = append(rows, fields)
	}
	return rows, nil
}

// property is a row of zfs get.
type property struct {
	name, key string
	value
}

// parseProperties reads "name, property, value, source" of zfs get -H. A foreign
// user property's value may contain tabs and newlines; a row ends where a line
// ends in a source.
func parseProperties(out []byte) ([]property, error) {
	var rows []property
	pending := ""
	for line := range strings.Lines(string(out)) {
		pending += line
		row, ok := parseProperty(strings.TrimSuffix(pending, "\n"))
		if ok {
			rows = append(rows, row)
			pending = ""
		}
	}
	if pending != "" {
		return nil, fmt.Errorf("unexpected output: row without a source %q", pending)
	}
	return rows, nil
}

func parseProperty(s string) (property, bool) {
	name, rest, ok := strings.Cut(s, "\t")
	key, rest, ok2 := strings.Cut(rest, "\t")
	i := strings.LastIndexByte(rest, '\t')
	if !ok || !ok2 || i < 0 || !isSource(rest[i+1:]) {
		return property{}, false
	}
	return property{name, key, value{rest[:i], rest[i+1:]}}, true
}

func isSource(s string) bool {
	switch s {
	case sourceLocal, "default", "received", "temporary", "none", "-":
		return true
	}
	return strings.HasPrefix(s, "inherited from ")
}

// parseSize reads a number of bytes as -p prints it; "-" is a number that does
// not apply.
func parseSize(s string) (uint64, error) {
	if s == "-" || s == "none" {
		return 0, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("unexpected output: %q is not a number of bytes", s)
	}
	return v, nil
}

// orEmpty reads "-", ZFS's word for nothing.
func orEmpty(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// parseEstimate reads what a dry run of send prints with -P; without the size
// line, which some versions leave out for bookmarks, it is 0.
func parseEstimate(out []byte) uint64 {
	for line := range strings.Lines(string(out)) {
		if s, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "size\t"); ok {
			if v, err := strconv.ParseUint(s, 10, 64); err == nil {
				return v
			}
		}
	}
	return 0
}
