package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Words is a list separated by commas; space around an item does not count and
// empty items are dropped.
type Words []string

// UnmarshalText parses.
func (w *Words) UnmarshalText(b []byte) error {
	*w = nil
	for item := range strings.SplitSeq(string(b), ",") {
		if item = strings.TrimSpace(item); item != "" {
			*w = append(*w, item)
		}
	}
	return nil
}

// String is the list with commas.
func (w Words) String() string { return strings.Join(w, ",") }

// RelNames is a list of relative dataset names separated by commas. Spaces inside
// a name are part of it.
type RelNames []messages.RelName

// UnmarshalText parses.
func (r *RelNames) UnmarshalText(b []byte) error {
	var words Words
	_ = words.UnmarshalText(b) // every text is a list of words
	*r = nil
	for _, word := range words {
		name, err := messages.ParseRelName(word)
		if err != nil {
			return err
		}
		*r = append(*r, name)
	}
	return nil
}

// String is the list with commas.
func (r RelNames) String() string {
	words := make(Words, len(r))
	for i, name := range r {
		words[i] = string(name)
	}
	return words.String()
}

// Pairs are key=value items separated by commas. A value that holds a comma or
// begins with a quote stands in single quotes, a quote inside it is doubled, as in
// postgresql.conf: "work_mem=64MB,search_path='a,b'".
type Pairs map[string]string

// UnmarshalText parses.
func (p *Pairs) UnmarshalText(b []byte) error {
	*p = Pairs{}
	for rest := strings.TrimSpace(string(b)); rest != ""; {
		key, after, ok := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.Contains(key, ",") {
			return fmt.Errorf("%q: want key=value items with commas between", rest)
		}
		if _, twice := (*p)[key]; twice {
			return fmt.Errorf("%q is there twice", key)
		}
		value, tail, err := cutValue(strings.TrimSpace(after))
		if err != nil {
			return fmt.Errorf("value of %q: %w", key, err)
		}
		(*p)[key], rest = value, tail
	}
	return nil
}

// cutValue splits a plain or quoted value from the items that follow it.
func cutValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, "'") {
		value, rest, _ = strings.Cut(s, ",")
		return strings.TrimSpace(value), strings.TrimSpace(rest), nil
	}
	value, s, err = cutQuoted(s[1:])
	if err != nil {
		return "", "", err
	}
	if s = strings.TrimSpace(s); s == "" {
		return value, "", nil
	}
	rest, ok := strings.CutPrefix(s, ",")
	if !ok {
		return "", "", errors.New("want a comma after the closing quote")
	}
	return value, strings.TrimSpace(rest), nil
}

// cutQuoted ends a value, whose opening quote is cut off already, at the quote that
// is not doubled.
func cutQuoted(s string) (value, rest string, err error) {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '\'')
		if i < 0 {
			return "", "", errors.New("the quote is not closed")
		}
		out.WriteString(s[:i])
		if s = s[i+1:]; !strings.HasPrefix(s, "'") {
			return out.String(), s, nil
		}
		out.WriteByte('\'')
		s = s[1:]
	}
}

// String is what UnmarshalText reads, sorted by key.
func (p Pairs) String() string {
	var items []string
	for _, key := range slices.Sorted(maps.Keys(p)) {
		value := p[key]
		if strings.Contains(value, ",") || strings.HasPrefix(value, "'") || strings.TrimSpace(value) != value {
			value = "'" + strings.ReplaceAll(value, "'", "''") + "'"
		}
		items = append(items, key+"="+value)
	}
	return strings.Join(items, ",")
}
