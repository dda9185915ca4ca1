package settings

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/messages"
)

// Common is what both sidecars have; their Config structs embed it.
type Common struct {
	Cluster messages.ClusterName `needed:"true" desc:"Name of the PostgreSQL replication group; the same on all its nodes."`
	Node    messages.NodeName    `computed:"the host name up to its first dot" desc:"Name of this node; unique in the cluster."`
	Dataset messages.Dataset     `needed:"true" desc:"The live dataset: the ZFS file system on which PostgreSQL's data directory lives. Its children belong to it."`

	NATS NATS
	PG   PG
	Log  Log

	RateLimit    Rate          `split_words:"true" default:"0" desc:"Most that this sidecar moves in a second, all its streams together: what a primary uploads, or what a standby downloads. 0 is no limit; otherwise at least 256KiB/s."`
	StallTimeout time.Duration `split_words:"true" default:"10m" min:"10s" desc:"How long a stream may stand still while NATS is there, before it is given up, to be resumed later: without a byte from zfs send, without anything stored, or without a sign of life of its writer. Waiting for slow standbys does not count."`
	CutTimeout   time.Duration `split_words:"true" default:"30m" min:"10s" desc:"How long a stream waits for a NATS that is away; then it is given up, to be resumed later."`

	SigningSeedFile string `split_words:"true" desc:"Path of the seed of a user nkey (SU…) that signs what this node publishes."`
	TrustedKeys     Words  `split_words:"true" desc:"Public nkeys (U…) of the nodes that may publish, separated by commas: leases, answers, manifests and streams are believed only with the signature of one. Needed, unless PGRESYNC_UNSIGNED says documents."`
	TriggerKeys     Words  `split_words:"true" desc:"Public nkeys (U…) of the operators whose triggers are obeyed. Needed, unless PGRESYNC_UNSIGNED says triggers."`
	Unsigned        Words  `desc:"What is believed without a signature, whoever may write to NATS: documents (leases, answers, manifests, streams), triggers, or both, separated by a comma. There is no default: keys or this."`

	HTTPListen    string        `split_words:"true" desc:"Address for the status page, /metrics, /livez and /readyz over HTTP, like 127.0.0.1:8080; off when not set. It is read-only, unencrypted and asks nobody who they are: let it be the loopback or an address that only your monitoring reaches."`
	TriggerMaxAge time.Duration `split_words:"true" default:"1h" min:"1s" desc:"Triggers older than this are acknowledged without being obeyed."`
}

// NATS is how to reach the broker.
type NATS struct {
	URL          Servers       `default:"nats://127.0.0.1:4222" desc:"NATS servers, separated by commas. The primary sidecar also takes the word embedded and then runs a server itself."`
	Creds        string        `desc:"Path of a credentials file (JWT and seed). This and the other files are read again at every reconnect."`
	Nkey         string        `desc:"Path of an nkey seed file."`
	User         string        `desc:"User name."`
	Password     daemon.Secret `desc:"Password of the user."`
	PasswordFile string        `split_words:"true" desc:"Path of a file with the password, in its place."`
	Token        daemon.Secret `desc:"Authentication token."`
	TokenFile    string        `split_words:"true" desc:"Path of a file with the token, in its place."`
	InboxPrefix  string        `split_words:"true" computed:"_INBOX_<cluster>_<node>" desc:"Where answers arrive. Server permissions keep other nodes out of it."`
	CA           string        `desc:"Path of the PEM file with the authorities that may sign the servers' certificates; the system's when not set."`
	Cert         string        `desc:"Path of this client's certificate (PEM)."`
	Key          string        `desc:"Path of the key of this client's certificate (PEM)."`
	Provision    bool          `default:"true" desc:"Whether to create streams, buckets and key-value stores. When false they are only checked."`
	Replicas     int           `default:"1" min:"1" max:"5" desc:"Replicas of events and key-value stores; 3 in a NATS cluster. The bucket of parts has a setting of its own."`
	Storage      string        `default:"file" oneof:"file memory" desc:"Storage of what is created."`
}

// Log is how to log.
type Log struct {
	Format daemon.LogFormat `default:"json" oneof:"json console" desc:"Format of the log on standard output."`
	Level  string           `default:"info" oneof:"trace debug info warn error" desc:"Least level that is logged."`
}

// PG is the local PostgreSQL.
type PG struct {
	BinDir   string   `split_words:"true" computed:"the newest of /usr/lib/postgresql/*/bin and /usr/pgsql-*/bin, else where pg_ctl is found in PATH" desc:"Directory of PostgreSQL's programs."`
	Conninfo Conninfo `default:"host=/var/run/postgresql user=postgres dbname=postgres" desc:"Connection to the PostgreSQL of this node. Give a password in a passfile rather than here."`
}

// Base is c itself; it lets Run find the common part of a Config.
func (c *Common) Base() *Common { return c }

// Complete finds the defaults that are not constants.
func (c *Common) Complete() {
	if c.Node == "" {
		host, err := os.Hostname()
		if err == nil {
			host, _, _ = strings.Cut(strings.ToLower(host), ".")
			c.Node = messages.NodeName(host) // checked by Validate
		}
	}
	if c.PG.BinDir == "" {
		c.PG.BinDir = findBinDir(os.DirFS("/"), os.Getenv("PATH"))
	}
}

// Validate reports everything that is wrong.
func (c *Common) Validate() error {
	var complaints []error
	add := func(key string, err error) {
		if err != nil {
			complaints = append(complaints, fmt.Errorf("%s_%s: %w", Prefix, key, err))
		}
	}
	if _, err := messages.ParseNodeName(string(c.Node)); err != nil {
		add("NODE", fmt.Errorf("%w (set it: the host name is its default)", err))
	}
	if c.Dataset != "" {
		add("DATASET", checkLive(c.Dataset))
	}
	if c.RateLimit > 0 && c.RateLimit < leastRate {
		add("RATE_LIMIT", fmt.Errorf("%s: want 0 or at least %s: a part has to get through within the patience of its readers", c.RateLimit, leastRate))
	}
	_, err := messages.ParseKeys(c.TrustedKeys)
	add("TRUSTED_KEYS", err)
	_, err = messages.ParseKeys(c.TriggerKeys)
	add("TRIGGER_KEYS", err)
	if err := c.checkUnsigned(); err != nil {
		complaints = append(complaints, err)
	}
	if c.HTTPListen != "" {
		add("HTTP_LISTEN", CheckAddress(c.HTTPListen))
	}
	return errors.Join(append(complaints, c.NATS.Validate())...)
}

const leastRate = Rate(256 << 10)

// longestSuffix is what a switch appends to the live dataset's name.
const longestSuffix = ".pgresync-next"

func checkLive(d messages.Dataset) error {
	if d.Parent() == "" {
		return fmt.Errorf("%q is the root of a pool: it cannot be renamed, so the live data must lie in a dataset below it", d)
	}
	if _, err := messages.ParseDataset(string(d) + longestSuffix); err != nil {
		return fmt.Errorf("%q with %s appended is not a legal name: %w", d, longestSuffix, err)
	}
	return nil
}

// Validate reports everything that is wrong.
func (n *NATS) Validate() error {
	var complaints []error
	complain := func(format string, args ...any) {
		complaints = append(complaints, fmt.Errorf(Prefix+"_NATS_"+format, args...))
	}
	var ways []string
	for _, way := range []struct {
		name string
		set  bool
	}{{"CREDS", n.Creds != ""}, {"NKEY", n.Nkey != ""}, {"USER", n.User != ""}, {"TOKEN", n.Token != "" || n.TokenFile != ""}} {
		if way.set {
			ways = append(ways, way.name)
		}
	}
	if len(ways) > 1 {
		complain("%s: set together with %s; want one way to authenticate", ways[0], strings.Join(ways[1:], " and "))
	}
	if (n.Password != "" || n.PasswordFile != "") && n.User == "" {
		complain("PASSWORD: set without PGRESYNC_NATS_USER")
	}
	if n.Password != "" && n.PasswordFile != "" {
		complain("PASSWORD and PGRESYNC_NATS_PASSWORD_FILE: want one of them")
	}
	if n.Token != "" && n.TokenFile != "" {
		complain("TOKEN and PGRESYNC_NATS_TOKEN_FILE: want one of them")
	}
	if (n.Cert == "") != (n.Key == "") {
		complain("CERT and PGRESYNC_NATS_KEY: want both or none")
	}
	return errors.Join(complaints...)
}
