package diagnostics

import (
	"regexp"
	"strings"
)

// lookAlikes are the forms in which secrets appear in errors and logs: libpq's
// keywords, passwords in URIs and in SQL, stored verifiers, NATS seeds and tokens, and
// private keys in PEM.
var lookAlikes = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?i)\b((?:ssl)?password|oauth_client_secret|token)(\s*=\s*)(''[^']*''|'(?:[^'\\]|\\.|'')*'|"[^"]*"|[^\s'",;&}]+)`), `$1$2***`},
	{regexp.MustCompile(`(?i)("(?:[a-z_]*password|[a-z_]*secret|token)"\s*:\s*)"(?:[^"\\]|\\.)*"`), `$1"***"`},
	{regexp.MustCompile(`(?i)\b(password\s+)('(?:[^']|'')*')`), `$1'***'`},
	{regexp.MustCompile(`(\w+://[^\s/:@]*):[^\s@]+@`), `$1:***@`},
	{regexp.MustCompile(`SCRAM-SHA-256\$[^\s'"]+`), `SCRAM-SHA-256$$***`},
	{regexp.MustCompile(`\bS[UANOC][A-Z2-7]{56}\b`), `***`},
	{regexp.MustCompile(`\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+`), `***`},
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*(?:PRIVATE KEY|SEED)-----.*?(?:-----END [A-Z ]*-----|$)`), `***`},
}

// mask hides what is known to be secret, and what looks like it.
func (d Dir) mask(s string) string {
	for _, secret := range d.Secrets {
		// A password of two letters would mask half of the text, and tell itself by that.
		if len(secret) >= 4 {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	for _, l := range lookAlikes {
		s = l.form.ReplaceAllString(s, l.with)
	}
	return s
}
