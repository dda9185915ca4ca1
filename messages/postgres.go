package messages

import "time"

// Backup is what a closed bracket yields.
type Backup struct {
	StartLSN, StopLSN LSN
	Label             []byte
	TablespaceMap     []byte // nil when there are no tablespaces
}

// Paths are the directories of a cluster as absolute paths with all links
// resolved.
type Paths struct {
	DataDir     string
	WALDir      string
	WALLink     bool // pg_wal is a symbolic link
	Tablespaces map[uint32]string
}

// Receiver is what a standby says of its replication.
type Receiver struct {
	// InRecovery is pg_is_in_recovery().
	InRecovery bool
	// Streaming is whether a wal receiver is connected and streaming. One that is refused
	// again and again is not, whatever pg_stat_wal_receiver says (docs/adr/0032).
	Streaming bool
	// Paused is pg_is_wal_replay_paused().
	Paused bool
	// Delay is recovery_min_apply_delay.
	Delay time.Duration
	// SenderHost and SenderPort are of the server it streams from.
	SenderHost string
	SenderPort int
	SlotName   string
	// Timeline is the receiver's while it runs, else the last checkpoint's.
	Timeline Timeline
	// ReceiveLSN and ReplayLSN are 0 when unknown.
	ReceiveLSN, ReplayLSN LSN
}

// Sender is one row of pg_stat_replication joined with the slot it uses.
type Sender struct {
	ApplicationName string
	SlotName        string
	State           string
	ReplayLSN       LSN
}

// ControlData is pg_control as pg_controldata prints it.
type ControlData struct {
	SystemID SystemID
	// CatalogVersion and ControlVersion tell incompatible builds apart.
	ControlVersion, CatalogVersion int
	// State is in pg_controldata's words, C locale: "in production", "shut down in
	// recovery", "in archive recovery", …
	State         string
	Timeline      Timeline
	CheckpointLSN LSN
	RedoLSN       LSN
	// MinRecoveryLSN is what was replayed at least, on MinRecoveryTimeline; both are 0
	// when it was not in recovery.
	MinRecoveryLSN      LSN
	MinRecoveryTimeline Timeline
	BackupStartLSN      LSN
	BackupEndNeeded     bool
	WALSegmentSize      uint64
	CheckpointTime      time.Time
}

// StandbySetup is all that turns a copied data directory into a standby's.
type StandbySetup struct {
	// DataDir is where the copy is mounted now.
	DataDir string
	// FinalDataDir is where it will be mounted when PostgreSQL starts on it.
	FinalDataDir  string
	SystemID      SystemID
	Timeline      Timeline
	BackupLabel   []byte
	TablespaceMap []byte // nil when there are none
	// PrimaryConninfo is primary_conninfo, SlotName primary_slot_name.
	PrimaryConninfo string
	SlotName        string
	// Settings are further parameters that are written last, so that they win over
	// what came with the copy.
	Settings map[string]string
	// WALDir is the final pg_wal when it is not inside the data directory; it is
	// WALStaged now. WALLink says that pg_wal is a link to WALDir; otherwise WALDir
	// is mounted on top of the directory pg_wal.
	WALDir, WALStaged string
	WALLink           bool
	// EmptyWAL says that pg_wal did not travel and is to be made anew.
	EmptyWAL bool
	// Tablespaces are the final paths by OID.
	Tablespaces map[uint32]string
	// TablespacesStaged are where those are now, as far as they are known.
	TablespacesStaged map[uint32]string
	// KeepFrom is the previous data directory, "" when there is none; KeepFiles are
	// copied from it when they are there (postgresql.conf, pg_hba.conf, …).
	KeepFrom  string
	KeepFiles []string
	// UID and GID own what is written.
	UID, GID int
}

// WALInfo is what a primary keeps of its log.
type WALInfo struct {
	// SegmentSize is in bytes.
	SegmentSize uint64
	// Oldest is the first position still in pg_wal.
	Oldest LSN
}

// SlotUse is a slot with what it costs the publisher.
type SlotUse struct {
	SlotState
	// HoldsXmin is whether it holds back vacuum: hot_standby_feedback's xmin outlives
	// the standby that reported it.
	HoldsXmin bool
	// InactiveSince is zero while it is used, and when the server does not say
	// (before PostgreSQL 17).
	InactiveSince time.Time
}
