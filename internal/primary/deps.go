package primary

import (
	"context"
	"io"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Database is the local PostgreSQL.
type Database interface {
	Identity(ctx context.Context) (messages.Identity, error)
	Paths(ctx context.Context) (messages.Paths, error)
	StandbySettings(ctx context.Context) (map[string]int, error)
	WAL(ctx context.Context) (messages.WALInfo, error)
	// Backup runs during inside backup mode, which cannot stay open.
	Backup(ctx context.Context, label string, during func(ctx context.Context) error) (messages.Backup, error)
}

// Slots are the replication slots of our prefix.
type Slots interface {
	Slots(ctx context.Context) ([]messages.SlotState, error)
	SlotsUnbounded(ctx context.Context) (bool, error)
	ReserveSlot(ctx context.Context, name string) (messages.SlotState, error)
	DropSlot(ctx context.Context, name string) error
	Senders(ctx context.Context) ([]messages.Sender, error)
}

// Tree lists what there is.
type Tree interface {
	List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error)
	Histories(ctx context.Context, root messages.Dataset) (map[messages.Dataset]messages.History, error)
	SnapshotProperties(ctx context.Context, d messages.Dataset, keys ...string) (map[messages.SnapshotName]map[string]string, error)
	Pool(ctx context.Context, pool string) (messages.PoolInfo, error)
	// Survey is List for a tree that is not all ours.
	Survey(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error)
}

// Snapshots makes and keeps snapshots.
type Snapshots interface {
	SnapshotTree(ctx context.Context, root messages.Dataset, short string, props map[string]string) error
	SetProperties(ctx context.Context, d messages.Dataset, props map[string]string) error
	SetSnapshotProperties(ctx context.Context, s messages.SnapshotName, props map[string]string) error
	Hold(ctx context.Context, s messages.SnapshotName, tag string) error
	Bookmark(ctx context.Context, s messages.SnapshotName, short string) error
	// BookmarkIn bookmarks a version of what d descends from in d itself.
	BookmarkIn(ctx context.Context, s messages.SnapshotName, d messages.Dataset, short string) error
}

// Pruner removes what is ours.
type Pruner interface {
	Release(ctx context.Context, s messages.SnapshotName, tag string) error
	DestroySnapshot(ctx context.Context, s messages.SnapshotName) error
	DestroyBookmark(ctx context.Context, s messages.SnapshotName) error
}

// Sender produces streams.
type Sender interface {
	Estimate(ctx context.Context, spec messages.SendSpec) (uint64, error)
	Send(ctx context.Context, spec messages.SendSpec) (io.ReadCloser, error)
}

// Properties keeps what must outlive a restart.
type Properties interface {
	SetProperties(ctx context.Context, d messages.Dataset, props map[string]string) error
	InheritProperty(ctx context.Context, d messages.Dataset, key string) error
}

// ZFS is all that is asked of ZFS.
type ZFS interface {
	Tree
	Snapshots
	Pruner
	Sender
	Properties
}

// Uploads shares one upload of a stream among its readers.
type Uploads interface {
	// Join starts the upload that rec describes, or joins it, but not the attempt not:
	// open is called only for a new one. The record returned is the upload's.
	Join(ctx context.Context, rec messages.StreamRecord, reader messages.NodeName, not messages.MessageID,
		open func(ctx context.Context) (io.ReadCloser, error)) (messages.StreamRecord, error)
	// Streams are the uploads that are running or may still be joined.
	Streams() []messages.StreamRecord
	// Sweep removes what dead publishers left. onDuty is asked before each removal.
	Sweep(ctx context.Context, onDuty func() error) error
}

// Sealer encrypts streams to the keys of those who may read them.
type Sealer interface {
	// Keys are those that a stream which begins now is encrypted to; none when streams
	// are not encrypted.
	Keys() ([]string, error)
	// Seal encrypts src to rec's recipients.
	Seal(rec messages.StreamRecord, src io.ReadCloser) (io.ReadCloser, error)
}

// Leases is the election of the publisher.
type Leases interface {
	Campaign(ctx context.Context, l messages.Lease) (uint64, error)
	Renew(ctx context.Context, revision uint64, l messages.Lease) (uint64, error)
	Resign(ctx context.Context, revision uint64) error
}

// Announcer tells the world, and hears who else is there.
type Announcer interface {
	Publish(ctx context.Context, e messages.Event) error
	PutStatus(ctx context.Context, s messages.NodeStatus) error
	// Nodes are the presence records of all sidecars.
	Nodes(ctx context.Context) ([]messages.NodeStatus, error)
}

// Logs reads the local PostgreSQL's log.
type Logs interface {
	// AttestWAL holds claims about a standby's log against it, one answer each.
	AttestWAL(ctx context.Context, claims []messages.WALClaim) ([]messages.WALAnswer, error)
	// ReserveSlotAt makes a slot that keeps what is still there from at on, or none.
	ReserveSlotAt(ctx context.Context, name string, timeline messages.Timeline, at messages.LSN) (messages.SlotState, error)
}

// Clock is the time, so that tests can set it.
type Clock func() time.Time
