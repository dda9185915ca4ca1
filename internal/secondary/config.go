package secondary

import (
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Config is what the service needs to know.
type Config struct {
	Cluster messages.ClusterName
	Node    messages.NodeName
	// Version is this build's, for the presence record.
	Version string
	// Dataset is the live dataset.
	Dataset messages.Dataset
	// Lineage is the root of the received datasets.
	Lineage messages.Dataset
	// Mountpoint of the live dataset; "" keeps what it has, or takes the publisher's.
	Mountpoint string
	// Mountpoints of its children by relative name, for those that differ.
	Mountpoints map[messages.RelName]string
	// StageDir is a directory under which a coming copy is mounted aside.
	StageDir string
	// PrimaryConninfo are further libpq parameters of primary_conninfo; host and
	// port come from the lease unless they are given here.
	PrimaryConninfo string
	// Settings are written last into the copy's configuration.
	Settings map[string]string
	// LowSettings is about parameters below the primary's.
	LowSettings plan.SettingsPolicy
	// KeepFiles are taken over from the previous data directory.
	KeepFiles []string
	// Mode is what may be given up where two copies do not fit; "" is nothing.
	Mode Mode
	// AutoResync lets verdicts start resyncs; triggers always do.
	AutoResync bool
	// Adopt lets a live dataset that was here before us be destroyed once replaced.
	Adopt bool
	// CheckInterval is between two diagnoses.
	CheckInterval time.Duration
	// ProveTimeout is how long the new copy may take to prove itself.
	ProveTimeout time.Duration
	// SnapshotMaxAge is how old a snapshot may be that an early pass starts from.
	SnapshotMaxAge time.Duration
	// TrackInterval is how often a healthy standby's lineage is refreshed; 0 never.
	TrackInterval time.Duration
	// TrackAlways has it follow each snapshot that the publisher makes.
	TrackAlways bool
	// KeepPasses is how many snapshots per dataset the lineage keeps.
	KeepPasses int
	// KeepBases is how many bookmarks of older ones it keeps: should this node be
	// promoted, they are bases for whoever was away for long.
	KeepBases int
	// BudgetPerDay bounds the resyncs that start by themselves.
	BudgetPerDay int
	// SameFailure is how often a resync may fail in the same phase before an operator is
	// asked for; Pace is between attempts.
	SameFailure int
	Pace        resync.Pace

	Diagnosis plan.Policy
	Converge  plan.ConvergePolicy
}

// next, old and the like are siblings of the live dataset, so that a rename is
// all it takes to switch.
func (c Config) next() messages.Dataset { return c.Dataset + ".pgresync-next" }

func (c Config) old() messages.Dataset { return c.Dataset + ".pgresync-old" }

// kept names a dataset that is set aside for the operator.
func (c Config) kept(what string, id messages.ResyncID) messages.Dataset {
	return c.Dataset + messages.Dataset(".pgresync-"+what+"-"+string(id))
}
