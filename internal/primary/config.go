package primary

import (
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Config is what the service needs to know.
type Config struct {
	Cluster messages.ClusterName
	Node    messages.NodeName
	// Version is this build's, for the presence record.
	Version string
	// Dataset is the live dataset, the root of the tree that is snapshotted.
	Dataset messages.Dataset
	// Ignore are children that hold nothing of the cluster.
	Ignore []messages.RelName
	// SendWAL makes a WAL dataset of its own travel too.
	SendWAL bool
	// Host and Port are where standbys reach this PostgreSQL.
	Host string
	Port int
	// Interval between scheduled snapshots; 0 takes them only when asked.
	Interval time.Duration
	// Gather is how long a request waits for others to share its snapshot.
	Gather time.Duration
	// LeaseTTL is how long the lease lives without a renewal.
	LeaseTTL time.Duration
	// PoolLimit is the use of the pool, or of the live dataset's quota, in percent, above
	// which no snapshot is taken, and none kept that is not being sent.
	PoolLimit int
	// KeepSnapshots and KeepBookmarks bound what is kept per dataset.
	KeepSnapshots, KeepBookmarks int
	// StandbyExpiry is how long the bases of a standby are kept that is not seen.
	StandbyExpiry time.Duration
	// SlotExpiry is how long a slot may stay unused, SlotXminExpiry one that holds
	// back vacuum.
	SlotExpiry, SlotXminExpiry time.Duration
}

// ignored reports whether name is an ignored child or lies below one.
func (c Config) ignored(name messages.RelName) bool {
	return slices.ContainsFunc(c.Ignore, func(i messages.RelName) bool {
		return name == i || strings.HasPrefix(string(name), string(i)+"/")
	})
}
