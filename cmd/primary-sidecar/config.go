package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/messages"
)

// Config is the configuration of the primary sidecar; package settings explains
// the tags.
type Config struct {
	settings.Common

	NATSListen   string        `split_words:"true" default:"127.0.0.1:4222" desc:"Where the embedded NATS server listens."`
	NATSStoreDir string        `split_words:"true" default:"/var/lib/pgresync/nats" desc:"Directory of the embedded NATS server's data."`
	NATSStoreMax settings.Size `split_words:"true" default:"4GiB" min:"256MiB" desc:"Most that the embedded NATS server stores."`

	AdvertiseHost string `split_words:"true" needed:"true" desc:"Host name or address at which standbys reach this node's PostgreSQL."`
	AdvertisePort int    `split_words:"true" default:"5432" min:"1" max:"65535" desc:"Port of the same."`

	SnapshotInterval time.Duration     `split_words:"true" default:"1h" min:"0s" desc:"Time between snapshots that nobody asked for; 0 takes snapshots only when asked."`
	SnapshotKeep     int               `split_words:"true" default:"3" min:"1" desc:"Snapshots to keep. Those that a transfer needs are kept beyond it."`
	BookmarkKeep     int               `split_words:"true" default:"50" min:"1" desc:"Bookmarks of past snapshots to keep; each can be the base of an increment and takes next to no room."`
	StandbyExpiry    time.Duration     `split_words:"true" default:"720h" min:"1h" desc:"How long the bases of a standby are kept that has not been seen."`
	SlotExpiry       time.Duration     `split_words:"true" default:"24h" min:"1m" desc:"How long a replication slot of pgresync may stay unused before it is dropped. A standby that comes back later is resynced by an increment."`
	SlotXminExpiry   time.Duration     `split_words:"true" default:"1h" min:"1m" desc:"The same for a slot that holds back vacuum, which hot_standby_feedback of a dead standby does."`
	PoolLimit        int               `split_words:"true" default:"90" min:"1" max:"100" desc:"Percentage in use, of the pool or of what the live dataset may use, above which no snapshot is taken and none kept that is not being sent."`
	SendWAL          string            `split_words:"true" default:"auto" oneof:"auto always" desc:"Whether pg_wal travels when it is a dataset of its own: auto leaves it out, because standbys stream it; always sends it, so that a standby starts without the primary."`
	IgnoreDatasets   settings.RelNames `split_words:"true" desc:"Children of the live dataset that hold nothing of the cluster, by relative name, separated by commas. Others of that kind are refused."`
	BackupTimeout    time.Duration     `split_words:"true" default:"2m" min:"5s" desc:"Longest duration of a backup bracket: checkpoint, snapshot and stop."`
	Gather           time.Duration     `default:"1s" min:"0s" max:"1m" desc:"How long a request for a snapshot waits for others to share it."`

	Recipients settings.Words `desc:"Public keys of age (age1…) of the standbys that may read streams, separated by commas; or absolute paths of files with one key on each line, which are read for every stream. Streams are encrypted to all of them. When not set, the broker sees the data in clear."`

	LeaseTTL          time.Duration `split_words:"true" default:"15s" min:"5s" max:"10m" desc:"How long the publisher's lease outlives the publisher."`
	PartSize          settings.Size `split_words:"true" default:"16MiB" min:"1MiB" max:"64MiB" desc:"Size of the parts a stream is cut into; each side holds three in memory."`
	Window            settings.Size `default:"192MiB" desc:"Most that is uploaded ahead of the slowest reader of a stream; at least two parts."`
	BucketMax         settings.Size `split_words:"true" default:"1GiB" desc:"Limit of the bucket of parts: at least the window and three parts for each of PGRESYNC_MAX_STREAMS, and 2% more."`
	MaxStreams        int           `split_words:"true" default:"2" min:"1" max:"16" desc:"Streams that are sent at the same time; each has a window of its own and holds three parts in memory. Further ones wait, first come, first served."`
	BucketReplicas    int           `split_words:"true" default:"1" min:"1" max:"5" desc:"Replicas of the bucket of parts. What is lost with it is sent again, and three cost two thirds of the throughput."`
	BucketCompression string        `split_words:"true" default:"none" oneof:"none s2" desc:"Compression of the bucket's files by the NATS server. What zfs sends compressed or encrypted does not get smaller by it."`
	ReaderGrace       time.Duration `split_words:"true" default:"10m" min:"30s" max:"4h" desc:"How long a standby may take for one part, or hold up others that read the same stream, before it has to go on by itself."`
	Linger            time.Duration `default:"30s" min:"0s" desc:"How long a finished stream stays for readers that come late."`
}

// Complete finds the defaults that are not constants.
func (c *Config) Complete() { c.Common.Complete() }

// Validate reports everything that is wrong, each complaint naming its variable.
func (c *Config) Validate() error {
	return errors.Join(c.Common.Validate(), c.validateServer(), c.validateAdvertised(), c.validateSizes())
}

// String is the effective configuration, secrets masked.
func (c *Config) String() string {
	text, err := settings.Effective(c)
	if err != nil {
		return err.Error()
	}
	return text
}

func (c *Config) validateServer() error {
	if !c.NATS.URL.IsEmbedded() {
		return nil
	}
	var complaints []error
	if err := settings.CheckAddress(c.NATSListen); err != nil {
		complaints = append(complaints, fmt.Errorf("PGRESYNC_NATS_LISTEN: %w", err))
	}
	if !filepath.IsAbs(c.NATSStoreDir) {
		complaints = append(complaints, fmt.Errorf("PGRESYNC_NATS_STORE_DIR: %q: want an absolute path", c.NATSStoreDir))
	}
	if c.NATSStoreMax < c.BucketMax {
		complaints = append(complaints, fmt.Errorf("PGRESYNC_NATS_STORE_MAX: %s is less than PGRESYNC_BUCKET_MAX, %s", c.NATSStoreMax, c.BucketMax))
	}
	if c.NATS.Replicas != 1 {
		complaints = append(complaints, fmt.Errorf("PGRESYNC_NATS_REPLICAS: %d: the embedded server is a single one, want 1", c.NATS.Replicas))
	}
	if n := c.NATS; n.PasswordFile != "" || n.TokenFile != "" || n.Nkey != "" || n.Creds != "" {
		complaints = append(complaints, errors.New("PGRESYNC_NATS_PASSWORD_FILE, _TOKEN_FILE, _NKEY and _CREDS: the embedded server knows PGRESYNC_NATS_USER with PGRESYNC_NATS_PASSWORD, and PGRESYNC_NATS_TOKEN, only"))
	}
	return errors.Join(complaints...)
}

// validateAdvertised asks the document in which the address will travel.
func (c *Config) validateAdvertised() error {
	if c.AdvertiseHost == "" {
		return nil // complained of as needed
	}
	lease := messages.Lease{
		V: messages.Version, Cluster: "any", Node: "any", SystemID: 1, Timeline: 1,
		Host: c.AdvertiseHost, Port: 1,
	}
	if err := lease.Validate(); err != nil {
		return fmt.Errorf("PGRESYNC_ADVERTISE_HOST: %w", err)
	}
	return nil
}

func (c *Config) validateSizes() error {
	var complaints []error
	if c.Window < 2*c.PartSize {
		complaints = append(complaints, fmt.Errorf("PGRESYNC_WINDOW: %s: want at least two parts, %s", c.Window, 2*c.PartSize))
	}
	const mib = 1 << 20
	if need := settings.Size((streamConfig(*c).LeastBucket() + mib - 1) / mib * mib); c.BucketMax < need {
		complaints = append(complaints, fmt.Errorf("PGRESYNC_BUCKET_MAX: %s: want at least %s: for each of PGRESYNC_MAX_STREAMS the window and three parts, and 2%%", c.BucketMax, need))
	}
	return errors.Join(complaints...)
}
