package settings

import (
	"embed"
	"fmt"
	"strings"
)

// variables holds one file per command with the names of its variables, one a
// line, written by that command's own test. They are here because a node may run
// both sidecars from one environment file: a variable of the other one is no
// mistake.
//
//go:embed variables/*.txt
var variables embed.FS

// tolerated are the prefixes of variables that belong to tests and to the lab.
var tolerated = []string{Prefix + "_TEST_", Prefix + "_LAB"}

// unknown complains of every variable with our prefix that no command has: a
// misspelt setting that is silently ignored is found out in the wrong night.
func unknown(fields []Field) []error {
	known := knownVariables(fields)
	var complaints []error
	for _, key := range setKeys() {
		if known[key] || isTolerated(key) {
			continue
		}
		complaint := fmt.Errorf("%s: there is no such variable", key)
		if near := nearest(key, known); near != "" {
			complaint = fmt.Errorf("%s: there is no such variable; did you mean %s?", key, near)
		}
		complaints = append(complaints, complaint)
	}
	return complaints
}

func isTolerated(key string) bool {
	for _, prefix := range tolerated {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func knownVariables(fields []Field) map[string]bool {
	known := map[string]bool{}
	for _, f := range fields {
		known[f.Key] = true
	}
	entries, _ := variables.ReadDir("variables") // embedded: it cannot be missing
	for _, e := range entries {
		text, _ := variables.ReadFile("variables/" + e.Name())
		for key := range strings.FieldsSeq(string(text)) {
			known[key] = true
		}
	}
	return known
}

// nearest is the known name that key most likely was to be, "" when none is close.
func nearest(key string, known map[string]bool) string {
	const close = 3
	best, found := close, ""
	for name := range known {
		d := distance(key, name)
		if d < best || d == best && (found == "" || name < found) {
			best, found = d, name
		}
	}
	return found
}

// distance is Levenshtein's: the least number of letters to insert, delete or
// exchange.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
