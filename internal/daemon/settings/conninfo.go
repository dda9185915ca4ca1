package settings

import (
	"errors"
	"fmt"
	"strings"
)

// Conninfo is a libpq connection string, keyword=value or a postgresql:// URI
// (PostgreSQL 15, libpq-connect 34.1.1). It prints with its secrets masked.
type Conninfo string

// Param is one keyword and its value.
type Param struct{ Key, Value string }

// UnmarshalText checks the form; whether the keywords exist is for libpq to say.
func (c *Conninfo) UnmarshalText(b []byte) error {
	*c = Conninfo(b)
	if c.isURI() {
		return nil
	}
	_, err := c.Params()
	return err
}

// Reveal is the text itself.
func (c Conninfo) Reveal() string { return string(c) }

// String masks what is secret.
func (c Conninfo) String() string {
	if c.isURI() {
		return redactURI(string(c), false)
	}
	params, err := c.Params()
	if err != nil {
		return "***"
	}
	for i, p := range params {
		if isSecretParam(p.Key) && p.Value != "" {
			params[i].Value = "***"
		}
	}
	return FormatConninfo(params)
}

// Format masks for every verb of fmt.
func (c Conninfo) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// Value is the last value of a keyword, "" when it is not there.
func (c Conninfo) Value(key string) string {
	params, err := c.Params()
	if err != nil {
		return ""
	}
	value := ""
	for _, p := range params {
		if p.Key == key {
			value = p.Value
		}
	}
	return value
}

// Params are the keywords in their order. It is an error for the URI form. The
// error never holds a value.
func (c Conninfo) Params() ([]Param, error) {
	if c.isURI() {
		return nil, errors.New("connection string: want keyword=value, not a URI")
	}
	var params []Param
	for rest := strings.TrimLeft(string(c), " \t\n"); rest != ""; {
		key, after, ok := strings.Cut(rest, "=")
		key = strings.TrimRight(key, " \t\n")
		if !ok || !isKeyword(key) {
			return nil, fmt.Errorf("connection string: want keyword=value after %d parameters", len(params))
		}
		value, tail, err := cutParam(strings.TrimLeft(after, " \t\n"))
		if err != nil {
			return nil, fmt.Errorf("connection string: value of %s: %w", key, err)
		}
		params = append(params, Param{key, value})
		rest = strings.TrimLeft(tail, " \t\n")
	}
	return params, nil
}

func (c Conninfo) isURI() bool {
	return strings.HasPrefix(string(c), "postgresql://") || strings.HasPrefix(string(c), "postgres://")
}

// cutParam reads a value by libpq's rules: in quotes, or to the next space; a
// backslash takes the next byte as it is.
func cutParam(s string) (value, rest string, err error) {
	quoted := strings.HasPrefix(s, "'")
	s = strings.TrimPrefix(s, "'")
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			out.WriteByte(s[i])
		case quoted && c == '\'':
			return out.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(" \t\n", c) >= 0:
			return out.String(), s[i:], nil
		default:
			out.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("the quote is not closed")
	}
	return out.String(), "", nil
}

// FormatConninfo writes parameters so that Params and libpq read them back.
func FormatConninfo(params []Param) string {
	items := make([]string, len(params))
	for i, p := range params {
		items[i] = p.Key + "=" + quoteParam(p.Value)
	}
	return strings.Join(items, " ")
}

func quoteParam(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n'\\") {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func isKeyword(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}
