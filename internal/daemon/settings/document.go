package settings

import (
	"fmt"
	"strings"
)

// VariableNames lists the variables of spec, one a line: the content of the
// command's file in variables/.
func VariableNames(spec any) (string, error) {
	fields, err := Fields(spec)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.Key + "\n")
	}
	return b.String(), nil
}

// ReplaceTable puts the table of the named command between its two marks in page.
func ReplaceTable(page, command string, spec any) (string, error) {
	table, err := Markdown(spec)
	if err != nil {
		return "", err
	}
	open := fmt.Sprintf("<!-- begin %s: generated from the code -->\n", command)
	shut := fmt.Sprintf("<!-- end %s -->\n", command)
	before, rest, ok := strings.Cut(page, open)
	if !ok {
		return "", fmt.Errorf("document %s: the page has no line %q", command, strings.TrimSpace(open))
	}
	_, after, ok := strings.Cut(rest, shut)
	if !ok {
		return "", fmt.Errorf("document %s: the page has no line %q", command, strings.TrimSpace(shut))
	}
	return before + open + table + shut + after, nil
}
