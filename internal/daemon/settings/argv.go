package settings

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Argv is a program, by absolute path, and its arguments, with blanks between. An
// argument that holds blanks or is empty stands in single quotes, a quote inside
// it is doubled. No shell ever sees it.
type Argv []string

// UnmarshalText parses.
func (a *Argv) UnmarshalText(b []byte) error {
	*a = nil
	for rest := strings.TrimSpace(string(b)); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		var item string
		var err error
		if item, rest, err = cutArgument(rest); err != nil {
			return err
		}
		*a = append(*a, item)
	}
	if len(*a) > 0 && !filepath.IsAbs((*a)[0]) {
		return fmt.Errorf("%q: want the absolute path of a program", (*a)[0])
	}
	return nil
}

// cutArgument splits the first argument from what follows it.
func cutArgument(s string) (item, rest string, err error) {
	if !strings.HasPrefix(s, "'") {
		if i := strings.IndexAny(s, " \t"); i >= 0 {
			item, rest = s[:i], s[i:]
		} else {
			item = s
		}
		if strings.ContainsAny(item, "'\"`$;&|<>\\") {
			return "", "", fmt.Errorf("%q: no shell reads it; an argument with such characters stands in single quotes", item)
		}
		return item, rest, nil
	}
	item, rest, err = cutQuoted(s[1:])
	if err == nil && rest != "" && !strings.ContainsAny(rest[:1], " \t") {
		err = errors.New("want a blank after the closing quote")
	}
	return item, rest, err
}

// String is what UnmarshalText reads.
func (a Argv) String() string {
	items := make([]string, len(a))
	for i, item := range a {
		if item == "" || strings.ContainsAny(item, " \t'\"`$;&|<>\\") {
			item = "'" + strings.ReplaceAll(item, "'", "''") + "'"
		}
		items[i] = item
	}
	return strings.Join(items, " ")
}
