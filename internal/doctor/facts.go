package doctor

import (
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Facts are everything that was gathered. What could not be asked says so in a
// field named Problem.
type Facts struct {
	// Sidecar is messages.SidecarPrimary or SidecarSecondary.
	Sidecar string
	Cluster messages.ClusterName
	Node    messages.NodeName
	Dataset messages.Dataset
	// Lineage is a standby's.
	Lineage messages.Dataset
	// User runs the sidecar, Root if it is the superuser; OS is runtime.GOOS.
	User string
	Root bool
	OS   string

	Postgres Postgres
	ZFS      ZFS
	NATS     NATS
	Peers    []Peer
	// PeersDenied: this user may not list the other sidecars.
	PeersDenied bool
	Resync      Resync
}

// Postgres is the local server and its programs.
type Postgres struct {
	Problem  string
	Identity *messages.Identity
	// Grants are the statements that the role lacks.
	Grants   []string
	Settings *Settings
	// BinMajor is of the local programs, 0 when BinProblem says why.
	BinMajor   int
	BinProblem string
	// DataDir and ConfigFile are the server's, "" when the role may not read them;
	// ConfigGiven is a standby's PGRESYNC_PG_CONFIG_FILE.
	DataDir, ConfigFile, ConfigGiven string
}

// Settings are those that matter, with what is in use.
type Settings struct {
	WALLevel            string
	HotStandby          bool
	MaxSenders, Senders int
	MaxSlots, Slots     int
	// MaxSlotKeepMB is -1 without a limit.
	MaxSlotKeepMB int
}

// ZFS is the pool and its datasets.
type ZFS struct {
	Problem string
	Version string
	Pool    messages.PoolInfo
	// PoolLimit is the percentage above which a publisher takes no snapshot.
	PoolLimit int
	// Live is the live tree, nil when there is none; Native are native properties of
	// each of its datasets.
	Live   []messages.DatasetInfo
	Native map[messages.Dataset]map[string]string
	// Layout is of a publisher: the datasets with what they hold, or why the tree
	// cannot be published.
	Layout        []messages.ManifestDataset
	LayoutProblem string
	// Missing are the permissions that the user lacks on the live dataset.
	Missing        []string
	MissingProblem string
	// LineageMark is the cluster that a standby's lineage root says it is of;
	// LineageThere whether there is one.
	LineageThere bool
	LineageMark  string
}

// NATS is the broker.
type NATS struct {
	Problem string
	// Embedded: the server is started by this sidecar, and may not run yet.
	Embedded bool
	Server   string
	// MaxPayload is the server's, NeedPayload what documents need.
	MaxPayload, NeedPayload int64
	RoundTrip               time.Duration
	JetStreamProblem        string
	// Store is the account's limit of file storage, -1 without one; NeedStore is what
	// streams and buckets may grow to.
	Store, StoreUsed, NeedStore int64
	// Denied are the permissions that were tried in vain.
	Denied []Denial
	// Resources says what is wrong with streams and buckets; Creates whether those that
	// are missing will be made.
	Resources string
	Missing   bool
	Creates   bool
}

// Denial is one permission that the server does not give.
type Denial struct {
	// Verb is "publish" or "subscribe".
	Verb, Subject string
}

// Peer is another sidecar.
type Peer struct {
	Node    messages.NodeName
	Sidecar string
	Version string
	// Identity is its PostgreSQL's, nil when down.
	Identity *messages.Identity
	// Skew is how far its clock is ahead of ours, known to within Uncertainty.
	Skew, Uncertainty time.Duration
}

// Resync is what a resync would do now.
type Resync struct {
	Problem string
	Plan    *messages.ResyncPlan
}
