package pgops

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// secretKeys are the libpq parameters whose values are not for logs (PostgreSQL
// 18, libpq-connect).
var secretKeys = map[string]bool{
	"password": true, "sslpassword": true, "oauth_client_secret": true,
	"scram_client_key": true, "scram_server_key": true,
}

const redacted = "***"

// BuildConninfo makes a libpq connection string in keyword form; the keys are
// sorted, so that equal parameters give equal strings. Empty values are left out.
func BuildConninfo(params map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if params[key] != "" {
			parts = append(parts, key+"="+quoteConninfo(params[key]))
		}
	}
	return strings.Join(parts, " ")
}

// quoteConninfo quotes by libpq's rules (PostgreSQL 15, libpq-connect 34.1.1.1).
func quoteConninfo(v string) string {
	if v != "" && !strings.ContainsAny(v, " \t\n\r\v\f'\\") {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// ParseConninfo reads a libpq connection string in keyword form, the reverse of
// BuildConninfo. Its errors show no value.
func ParseConninfo(s string) (map[string]string, error) {
	out := map[string]string{}
	for {
		s = strings.TrimLeft(s, conninfoSpace)
		if s == "" {
			return out, nil
		}
		key, rest, ok := strings.Cut(s, "=")
		key = strings.TrimRight(key, conninfoSpace)
		if !ok || key == "" || strings.ContainsAny(key, conninfoSpace+"'\\") {
			return nil, errors.New("connection string: a keyword without '='")
		}
		value, rest, err := conninfoValue(strings.TrimLeft(rest, conninfoSpace))
		if err != nil {
			return nil, fmt.Errorf("connection string: parameter %s: %w", clip(key), err)
		}
		out[key], s = value, rest
	}
}

const conninfoSpace = " \t\n\r\v\f"

func conninfoValue(s string) (value, rest string, err error) {
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(conninfoSpace, c) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("the closing quote is missing")
	}
	return b.String(), "", nil
}

// RedactConninfo hides the secrets of a connection string, so that it can be
// logged; what cannot be taken apart is hidden as a whole.
func RedactConninfo(s string) string {
	if strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://") {
		return redactURI(s)
	}
	params, err := ParseConninfo(s)
	if err != nil {
		return redacted
	}
	for key := range params {
		if secretKeys[key] {
			params[key] = redacted
		}
	}
	return BuildConninfo(params)
}

func redactURI(s string) string {
	u, err := url.Parse(s)
	// An unescaped '/', '?' or '#' in a password strands the rest of it, and the '@',
	// behind the host.
	if err != nil || strings.ContainsRune(u.Path+u.Fragment, '@') {
		return redacted
	}
	if u.User != nil {
		// A secret that url escapes would not read as one.
		u.User = url.User(u.User.Username())
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return redacted
	}
	for key := range query {
		switch {
		case strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "":
			return redacted
		case secretKeys[key]:
			query.Del(key)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}
