package settings

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Effective renders the configuration that is in force in the notation of an
// environment file, secrets masked. What has no value is a comment.
func Effective(spec any) (string, error) {
	fields, err := Fields(spec)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range fields {
		if text := f.Text(); text == "" {
			fmt.Fprintf(&b, "# %s is not set\n", f.Key)
		} else {
			fmt.Fprintf(&b, "%s=%s\n", f.Key, quoteEnv(text))
		}
	}
	return b.String(), nil
}

// quoteEnv quotes what systemd's EnvironmentFile and a shell would split.
func quoteEnv(s string) string {
	if strings.ContainsAny(s, " \t\"'$\\`#;&|<>()*?") {
		return strconv.Quote(s)
	}
	return s
}

// Usage lists every variable with its default and description, for --help.
func Usage(w io.Writer, spec any) error {
	fields, err := Fields(spec)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "  %s%s\n", f.Key, f.note())
		for _, line := range wrap(f.Desc, 72) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// note is what stands beside the name: the default, or that there must be a value,
// and what is allowed.
func (f Field) note() string {
	note := ""
	switch {
	case f.Needed:
		note = " (needed)"
	case f.Default != "":
		note = " [" + f.Default + "]"
	case f.Computed != "":
		note = " [" + f.Computed + "]"
	}
	if f.OneOf != nil {
		note += " (" + strings.Join(f.OneOf, " | ") + ")"
	}
	return note
}

// Markdown is the table of docs/configuration.md.
func Markdown(spec any) (string, error) {
	fields, err := Fields(spec)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| variable | default | what it is |\n|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Key, f.defaultCell(), f.descCell())
	}
	return b.String(), nil
}

func (f Field) defaultCell() string {
	switch {
	case f.Needed:
		return "**needed**"
	case f.Default != "":
		return "`" + f.Default + "`"
	}
	return f.Computed
}

func (f Field) descCell() string {
	cell := f.Desc
	if f.OneOf != nil {
		cell += " One of `" + strings.Join(f.OneOf, "`, `") + "`."
	}
	switch {
	case f.Min != "" && f.Max != "":
		cell += " From " + f.Min + " to " + f.Max + "."
	case f.Min != "":
		cell += " At least " + f.Min + "."
	}
	return strings.ReplaceAll(cell, "|", `\|`)
}

// wrap breaks text between words into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
