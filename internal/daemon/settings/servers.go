package settings

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Embedded is the value of PGRESYNC_NATS_URL that starts a server inside the
// primary sidecar.
const Embedded = "embedded"

// Servers is a list of NATS URLs separated by commas, or Embedded. It prints with
// its secrets masked.
type Servers string

// UnmarshalText checks the form. Its error holds no credentials.
func (s *Servers) UnmarshalText(b []byte) error {
	*s = Servers(strings.TrimSpace(string(b)))
	if *s == Embedded {
		return nil
	}
	for i, server := range s.List() {
		u, err := url.Parse(server)
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return fmt.Errorf("server %d of the list: want nats://host:port, tls://…, ws://… or wss://…", i+1)
		}
	}
	if len(s.List()) == 0 {
		return errors.New("want at least one URL")
	}
	return nil
}

// IsEmbedded reports whether the server is to run inside this process.
func (s Servers) IsEmbedded() bool { return s == Embedded }

// List is the URLs with their credentials.
func (s Servers) List() []string {
	var words Words
	_ = words.UnmarshalText([]byte(s)) // every text is a list of words
	return words
}

// Reveal is the text itself.
func (s Servers) Reveal() string { return string(s) }

// String masks what is secret.
func (s Servers) String() string {
	list := s.List()
	for i := range list {
		list[i] = redactURI(list[i], true)
	}
	return strings.Join(list, ",")
}

// Format masks for every verb of fmt.
func (s Servers) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }
