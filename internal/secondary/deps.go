package secondary

import (
	"context"
	"io"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Tree lists datasets.
type Tree interface {
	List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error)
	// Survey is List for a tree that is not all ours.
	Survey(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error)
	Histories(ctx context.Context, root messages.Dataset) (map[messages.Dataset]messages.History, error)
	LocalProperties(ctx context.Context, d messages.Dataset) (map[string]string, error)
	SnapshotProperties(ctx context.Context, d messages.Dataset, keys ...string) (map[messages.SnapshotName]map[string]string, error)
}

// Properties writes user and native properties.
type Properties interface {
	SetProperties(ctx context.Context, d messages.Dataset, props map[string]string) error
	SetSnapshotProperties(ctx context.Context, s messages.SnapshotName, props map[string]string) error
	InheritProperty(ctx context.Context, d messages.Dataset, key string) error
}

// Receiver puts streams into the lineage.
type Receiver interface {
	Receive(ctx context.Context, spec messages.ReceiveSpec, r io.Reader) error
	AbortReceive(ctx context.Context, d messages.Dataset) error
}

// Builder makes and moves datasets.
type Builder interface {
	Create(ctx context.Context, d messages.Dataset, props map[string]string) error
	Clone(ctx context.Context, s messages.SnapshotName, d messages.Dataset, props map[string]string) error
	Rename(ctx context.Context, from, to messages.Dataset) error
	Mount(ctx context.Context, d messages.Dataset) error
	Unmount(ctx context.Context, d messages.Dataset) error
}

// Destroyer removes what carries our mark, and nothing else.
type Destroyer interface {
	DestroyDataset(ctx context.Context, d messages.Dataset) error
	DestroySnapshot(ctx context.Context, s messages.SnapshotName) error
	DestroyBookmark(ctx context.Context, b messages.SnapshotName) error
}

// Keeper arranges which dataset has which part of the history.
type Keeper interface {
	Promote(ctx context.Context, d messages.Dataset) error
	Bookmark(ctx context.Context, s messages.SnapshotName, short string) error
	Release(ctx context.Context, s messages.SnapshotName, tag string) error
}

// ZFS is all that is asked of ZFS.
type ZFS interface {
	Tree
	Properties
	Receiver
	Builder
	Destroyer
	Keeper
}

// Database asks the local PostgreSQL.
type Database interface {
	Identity(ctx context.Context) (messages.Identity, error)
	Receiver(ctx context.Context) (messages.Receiver, error)
}

// Follower points a running standby at another primary.
type Follower interface {
	// Upstream is primary_conninfo as it is in force.
	Upstream(ctx context.Context) (string, error)
	Follow(ctx context.Context, conninfo string) error
}

// Server controls the PostgreSQL of one data directory. Its errors name it.
type Server interface {
	Start(ctx context.Context) error
	// Stop is a no-op when it does not run; immediate skips the shutdown checkpoint.
	Stop(ctx context.Context, immediate bool) error
	Running(ctx context.Context) (bool, error)
	// ControlData wraps messages.ErrNotFound when there is no data directory.
	ControlData(ctx context.Context) (messages.ControlData, error)
	// IsStandby reports whether a start would be one in recovery: standby.signal is there.
	IsStandby(ctx context.Context) (bool, error)
	// Loggable makes sure that what it prints at a start has a file to go to.
	Loggable(ctx context.Context) error
}

// Postgres makes servers, and standbys out of copies.
type Postgres interface {
	// Server controls the one whose data directory is dir.
	Server(dir string) (Server, error)
	// Major is the version of the local binaries.
	Major(ctx context.Context) (int, error)
	Prepare(ctx context.Context, setup messages.StandbySetup) error
	// Keep copies local files of one data directory to another place, for Prepare's
	// KeepFrom. Those that are not there are no error.
	Keep(ctx context.Context, from, to string, files []string) error
	// Configured are the integer parameters that a prepared copy would start with.
	Configured(ctx context.Context, setup messages.StandbySetup, names []string) (map[string]int, error)
	// Owner is the operating system user that PostgreSQL runs as.
	Owner() (uid, gid int, err error)
}

// Processes tells who uses what is mounted.
type Processes interface {
	// UsersOf names processes, other than PostgreSQL's, that keep these mount points busy.
	UsersOf(mountpoints []string) []string
}

// Primary asks the publisher.
type Primary interface {
	Facts(ctx context.Context) (*messages.PrimaryFacts, error)
	Snapshot(ctx context.Context, minStart messages.LSN, maxAge time.Duration) (*messages.Manifest, error)
	Slot(ctx context.Context, id messages.ResyncID, action messages.SlotAction) (messages.SlotState, error)
	Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error)
	Lease(ctx context.Context) (messages.Lease, uint64, error)
}

// Witness is the log of the local PostgreSQL, as a standby.
type Witness interface {
	// WALClaims says what must be true of its primary's log, too.
	WALClaims(ctx context.Context) ([]messages.WALClaim, error)
}

// Judge holds claims against the publisher's log, one answer each.
type Judge interface {
	AttestWAL(ctx context.Context, claims []messages.WALClaim) ([]messages.WALAnswer, error)
}

// Reserver asks for slots that keep WAL from an earlier position on.
type Reserver interface {
	// SlotAt wraps messages.ErrNotFound when that WAL is gone; there is no slot then.
	SlotAt(ctx context.Context, id messages.ResyncID, timeline messages.Timeline, at messages.LSN) (messages.SlotState, error)
}

// Estimator tells how much a stream would move.
type Estimator interface {
	Estimate(ctx context.Context, r messages.StreamRequest) (*messages.EstimateReply, error)
}

// Downloads reads streams.
type Downloads interface {
	// Read hands sink the verified bytes; they end in io.EOF only if the stream is
	// complete.
	Read(ctx context.Context, rec messages.StreamRecord, node messages.NodeName, progress func(bytes uint64),
		sink func(ctx context.Context, verified io.Reader) error) error
}

// Announcer tells the world.
type Announcer interface {
	Publish(ctx context.Context, e messages.Event) error
	PutStatus(ctx context.Context, s messages.NodeStatus) error
}

// Clock is the time, so that tests can set it.
type Clock func() time.Time
