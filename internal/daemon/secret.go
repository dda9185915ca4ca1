package daemon

import (
	"fmt"
	"io"
)

// Secret is a text that must not be seen: every way of fmt, JSON and zerolog to
// print it yields ***, or nothing when it is empty.
type Secret string

// Reveal is the text itself, for the one place that must have it.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format hides the text for every verb: fmt would print the text of a wrong one
// such as %d.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
