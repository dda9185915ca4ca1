package settings

import "strings"

// redactURI masks what follows the user's name in a URI, and secret parameters of
// its query. token says that a user without a password is a secret too, as in NATS.
// It works on the text, because multi-host URIs do not parse (net/url since Go
// 1.26), and one that is malformed must not show its password either.
func redactURI(s string, token bool) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@')
	if at < 0 && strings.Contains(tail, "@") {
		return scheme + "://***" // a password with an unescaped slash: all of it is suspect
	}
	if at >= 0 {
		authority = redactUser(authority[:at], token) + authority[at:]
	}
	return scheme + "://" + authority + redactQuery(tail)
}

func redactUser(userinfo string, token bool) string {
	user, _, hasPassword := strings.Cut(userinfo, ":")
	switch {
	case hasPassword:
		return user + ":***"
	case token:
		return "***"
	}
	return user
}

func redactQuery(s string) string {
	base, query, ok := strings.Cut(s, "?")
	if !ok {
		return s
	}
	items := strings.Split(query, "&")
	for i, item := range items {
		if key, _, _ := strings.Cut(item, "="); isSecretParam(key) {
			items[i] = key + "=***"
		}
	}
	return base + "?" + strings.Join(items, "&")
}

// isSecretParam knows password, sslpassword and oauth_client_secret (PostgreSQL
// 18, libpq-connect 32.1.2) by their nature.
func isSecretParam(key string) bool {
	return strings.Contains(key, "password") || strings.Contains(key, "secret")
}
