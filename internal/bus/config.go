package bus

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Config says where NATS is, who we are there, and how large what we keep there
// may become. Zero values have the defaults named below.
type Config struct {
	Cluster messages.ClusterName
	Node    messages.NodeName
	// Sidecar is "primary" or "secondary", or SidecarOperator for the operator's
	// command.
	Sidecar string
	// Version is the build's version, shown by `nats micro ls`.
	Version string

	// URLs are the servers, "nats://host:port" or "tls://host:port".
	URLs []string
	// At most one of CredsFile, NKeyFile, User with Password, and Token.
	CredsFile, NKeyFile   string
	User, Password, Token string
	// PasswordFile and TokenFile are files instead of Password and Token. They, the
	// credentials file and the nkey file are read again at every reconnect.
	PasswordFile, TokenFile string
	// CAFile, CertFile and KeyFile are PEM files; setting any turns TLS on. They are
	// read again at every reconnect, so that renewed certificates are picked up.
	CAFile, CertFile, KeyFile string
	// Signer signs what this node publishes; nil: nothing is signed.
	Signer *messages.Signer
	// Publishers are the keys whose leases, answers and manifests are believed, and
	// Operators those whose triggers are obeyed; without any, all are.
	Publishers, Operators messages.Keys
	// InboxPrefix is where replies arrive, "_INBOX_<cluster>_<node>" by default: a
	// prefix of its own lets server permissions keep the nodes out of each other's replies.
	InboxPrefix string

	// Provision allows Provision to create what is missing; without it, it only
	// checks.
	Provision bool
	// Replicas of streams and buckets: 1 (default), 3 or 5.
	Replicas int
	// Storage of the event stream and the buckets: "file" (default) or "memory",
	// which without replicas does not survive its server.
	Storage string
	// MaxEventBytes bounds the event stream, 64 MiB by default.
	MaxEventBytes int64
	// EventMaxAge is how long events and triggers are kept, 7 days by default.
	EventMaxAge time.Duration
	// LeaseTTL is how long a lease and a stream record live without renewal, 1
	// minute by default: longer than a restart of the server, since a fail-over
	// does not wait for it (a higher timeline takes over at once).
	LeaseTTL time.Duration
	// PresenceTTL is the same for node status records, 30 seconds by default.
	PresenceTTL time.Duration

	// OnAsyncError is told what has no caller to return to: denied permissions, slow
	// consumers, documents that were refused (ErrBadDocument), stale triggers
	// (ErrStale), and why a loop cannot go on for now. Called from several
	// goroutines; it must not block. Optional.
	OnAsyncError func(error)
	// OnConnection is told when one of the two connections ("control", "bulk") is
	// lost, with the reason if known, and when it is back. Optional.
	OnConnection func(connection string, up bool, reason error)
}

// SidecarOperator is the Sidecar of the operator's command, which is none.
const SidecarOperator = "operator"

const (
	defaultMaxEventBytes = 64 << 20
	defaultEventMaxAge   = 7 * 24 * time.Hour
	defaultLeaseTTL      = time.Minute
	defaultPresenceTTL   = 30 * time.Second
)

func (c Config) withDefaults() Config {
	c.Replicas = max(c.Replicas, 1)
	c.Storage = orDefault(c.Storage, "file")
	c.MaxEventBytes = orDefault(c.MaxEventBytes, defaultMaxEventBytes)
	c.EventMaxAge = orDefault(c.EventMaxAge, defaultEventMaxAge)
	c.LeaseTTL = orDefault(c.LeaseTTL, defaultLeaseTTL)
	c.PresenceTTL = orDefault(c.PresenceTTL, defaultPresenceTTL)
	c.InboxPrefix = orDefault(c.InboxPrefix, "_INBOX_"+string(c.Cluster)+"_"+string(c.Node))
	if c.OnAsyncError == nil {
		c.OnAsyncError = func(error) {}
	}
	if c.OnConnection == nil {
		c.OnConnection = func(string, bool, error) {}
	}
	return c
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// validate reports everything that is wrong at once.
func (c *Config) validate() error {
	var errs []error
	if _, err := messages.ParseClusterName(string(c.Cluster)); err != nil {
		errs = append(errs, err)
	}
	if _, err := messages.ParseNodeName(string(c.Node)); err != nil {
		errs = append(errs, err)
	}
	if c.Sidecar != messages.SidecarPrimary && c.Sidecar != messages.SidecarSecondary && c.Sidecar != SidecarOperator {
		errs = append(errs, fmt.Errorf("sidecar %q: want primary, secondary or operator", c.Sidecar))
	}
	if c.Storage != "file" && c.Storage != "memory" {
		errs = append(errs, fmt.Errorf("NATS storage %q: want file or memory", c.Storage))
	}
	if c.Replicas > 5 || c.Replicas%2 == 0 {
		errs = append(errs, fmt.Errorf("NATS replicas %d: want 1, 3 or 5", c.Replicas))
	}
	if !c.subjects().MayReply(c.InboxPrefix+".x") || strings.ContainsAny(c.InboxPrefix, "*> \t\r\n") || strings.HasSuffix(c.InboxPrefix, ".") {
		errs = append(errs, fmt.Errorf("NATS inbox prefix %q: no wildcards, no white space, no dot at the end, not $… nor pgresync.…", c.InboxPrefix))
	}
	return errors.Join(append(errs, c.validateURLs(), c.validateLogin())...)
}

func (c *Config) validateURLs() error {
	if len(c.URLs) == 0 {
		return errors.New("NATS URL: missing (nats://host:4222)")
	}
	for i, s := range c.URLs {
		// The text is not repeated: it may hold a password.
		if u, err := url.Parse(s); err != nil || u.Host == "" {
			return fmt.Errorf("NATS URL number %d: want nats://host:port or tls://host:port", i+1)
		}
	}
	return nil
}

func (c *Config) validateLogin() error {
	n := 0
	for _, s := range []string{c.CredsFile, c.NKeyFile, c.User, c.Token + c.TokenFile} {
		if s != "" {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("NATS login: set one of credentials file, nkey file, user and token")
	case c.Password+c.PasswordFile != "" && c.User == "":
		return errors.New("NATS login: a password without a user")
	case c.Password != "" && c.PasswordFile != "" || c.Token != "" && c.TokenFile != "":
		return errors.New("NATS login: a secret and a file for it")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("NATS TLS: certificate file and key file go together")
	}
	return nil
}

func (c *Config) subjects() messages.Subjects { return messages.Subjects{Cluster: c.Cluster} }

func (c *Config) storage() jetstream.StorageType {
	if c.Storage == "memory" {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// hosts names the servers without credentials.
func (c *Config) hosts() string {
	var out []string
	for _, s := range c.URLs {
		if u, err := url.Parse(s); err == nil {
			out = append(out, u.Host)
		}
	}
	return strings.Join(out, ", ")
}
