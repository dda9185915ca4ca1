package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/messages"
)

// Config is the configuration of the operator's command: the part of the sidecars'
// that is about NATS, so that a node's environment file serves it too.
type Config struct {
	Cluster messages.ClusterName `needed:"true" desc:"Name of the PostgreSQL replication group."`
	NATS    settings.NATS
	// NATSListen is where the server is that URL calls embedded.
	NATSListen string `split_words:"true" default:"127.0.0.1:4222" desc:"Where the embedded NATS server listens, when PGRESYNC_NATS_URL says embedded."`

	OperatorSeedFile string         `split_words:"true" desc:"Path of the seed of a user nkey (SU…) that signs what pgresync asks for. Its public key belongs in the sidecars' PGRESYNC_TRIGGER_KEYS."`
	TrustedKeys      settings.Words `split_words:"true" desc:"Public nkeys (U…) of the nodes that may publish, separated by commas: the lease, the publisher's answers and what verify reads are believed only with the signature of one. When not set, whatever comes by NATS is believed."`
}

// load reads the environment.
func load() (Config, error) {
	var cfg Config
	err := errors.Join(settings.Load(&cfg), cfg.NATS.Validate())
	return cfg, err
}

func (c *Config) bus() (bus.Config, error) {
	urls := c.NATS.URL.List()
	if c.NATS.URL.IsEmbedded() {
		urls = []string{"nats://" + c.NATSListen}
	}
	common := settings.Common{Cluster: c.Cluster, Node: deskName(), NATS: c.NATS}
	out := sidecar.BusConfig(&common, bus.SidecarOperator, urls, 0, zerolog.Nop())
	out.Provision = false
	if out.InboxPrefix == "" {
		// One of the command's own, so that the server's permissions can name it.
		out.InboxPrefix = "_INBOX_" + string(c.Cluster) + "_operator"
	}
	var err error
	if out.Publishers, err = messages.ParseKeys(c.TrustedKeys); err != nil {
		return out, fmt.Errorf("PGRESYNC_TRUSTED_KEYS: %w", err)
	}
	if c.OperatorSeedFile != "" {
		if out.Signer, err = bus.LoadSigner(c.OperatorSeedFile); err != nil {
			return out, fmt.Errorf("PGRESYNC_OPERATOR_SEED_FILE: %w", err)
		}
	}
	return out, nil
}

// deskName names this host in the server's list of connections. It is no node of
// the cluster, so that a host name that is none must not stop anyone.
func deskName() messages.NodeName {
	host, err := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name, parseErr := messages.ParseNodeName(host)
	if err != nil || parseErr != nil {
		return "operator"
	}
	return name
}

// version is what --version says.
func version() string {
	return strings.TrimPrefix(daemon.VersionLine("pgresync"), "pgresync ")
}

// who is recorded as the one who asked.
func who() string {
	for _, key := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if name := os.Getenv(key); name != "" {
			return fmt.Sprintf("%s@%s", name, deskName())
		}
	}
	return string(deskName())
}
