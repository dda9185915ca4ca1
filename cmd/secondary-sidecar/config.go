package main

import (
	"path/filepath"
	"time"

	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/messages"
)

// Config is the configuration of the secondary sidecar; package settings explains
// the tags.
type Config struct {
	settings.Common

	Lineage     messages.Dataset `computed:"<pool of the live dataset>/pgresync/<cluster>" desc:"Dataset below which received data is kept, never mounted; in the pool of the live dataset."`
	Mountpoint  string           `computed:"what the live dataset has, else the publisher's" desc:"Where the live dataset is mounted."`
	Mountpoints settings.Pairs   `computed:"the publisher's, below this node's root" desc:"Mount points of children of the live dataset as name=path items, separated by commas."`

	PGUser           string            `split_words:"true" default:"postgres" desc:"Operating system user that PostgreSQL runs as."`
	PGLogFile        string            `split_words:"true" computed:"pgresync.log beside the data directory" desc:"File that takes what PostgreSQL prints before its own logging starts."`
	PGConfigFile     string            `split_words:"true" desc:"Path of postgresql.conf where it does not lie in the data directory, like /etc/postgresql/15/main/postgresql.conf on Debian. Each new copy is started with it, and checked against it beforehand."`
	PGUnit           string            `split_words:"true" desc:"Systemd unit that runs PostgreSQL, like postgresql@15-main.service (not Debian's postgresql.service, which stands for all clusters); it is started and stopped by systemctl instead of pg_ctl."`
	PGStartCommand   settings.Argv     `split_words:"true" desc:"Program and arguments that start PostgreSQL instead of pg_ctl, with blanks between, without a shell; it returns 0 once the server process is there."`
	PGStopCommand    settings.Argv     `split_words:"true" desc:"Program and arguments that stop it, by a fast shut-down; it returns 0 once the server is gone."`
	PGStatusCommand  settings.Argv     `split_words:"true" desc:"Program and arguments that tell whether it runs: exit code 0 for yes, 3 for no."`
	PGCommandUser    string            `split_words:"true" computed:"PGRESYNC_PG_USER" desc:"Operating system user that these three run as."`
	PGStartTimeout   time.Duration     `split_words:"true" default:"2m" min:"5s" desc:"Longest time for a start, including recovery to consistency."`
	PGStopTimeout    time.Duration     `split_words:"true" default:"1m" min:"1s" desc:"Longest time for a fast shut-down; after it the shut-down is immediate."`
	PrimaryConninfo  settings.Conninfo `split_words:"true" desc:"Parameters for primary_conninfo, like user=replicator passfile=/etc/pgresync/passfile. Host and port follow the publisher's lease unless they are given here. A password belongs in the passfile: PostgreSQL logs a primary_conninfo that changed."`
	PostgresSettings settings.Pairs    `split_words:"true" desc:"Settings of PostgreSQL for this standby as name=value items, separated by commas; they win over what came with the copy and over recovery_init_sync_method=syncfs, which is set on Linux from version 14 on."`
	LowSettings      string            `split_words:"true" default:"raise" oneof:"raise refuse" desc:"Parameters like max_connections that are lower here than on the primary, with which PostgreSQL would not start: whether to raise them in the new copy or to refuse the resync before the old copy is stopped."`
	KeepFiles        settings.Words    `split_words:"true" default:"postgresql.conf,pg_hba.conf,pg_ident.conf,server.crt,server.key,root.crt,root.crl" desc:"Files of the data directory that each new copy takes over from the one it replaces, separated by commas."`

	SeparatePrivileges bool `split_words:"true" default:"false" desc:"Whether, started as root, it goes on as PGRESYNC_PG_USER without any privileges, and leaves behind a small process that is not connected to anything and runs a closed list of zfs commands for it. PGRESYNC_MOUNTPOINT, and PGRESYNC_MOUNTPOINTS for children, are then the only places where anything is mounted. Linux only."`

	Mode             string        `default:"side-by-side" oneof:"side-by-side in-place discard-broken" desc:"What may be given up when the pool has no room for what comes beside the broken live copy: nothing (an operator is asked for), the live copy when an increment then fits in its place, or the live copy and received data of no use for a whole seed as well. Giving up means: PostgreSQL is down for the whole transfer, and there is no copy to go back to."`
	AutoResync       bool          `split_words:"true" default:"true" desc:"Whether to resync when replication cannot continue. When false only triggers do."`
	Restart          string        `default:"crashed" oneof:"crashed never always" desc:"Which stopped standby is started again before anything is copied: one that ended without a shutdown, none (where a service or HA manager starts PostgreSQL), or one that was shut down as well."`
	RejoinPromoted   string        `split_words:"true" default:"trigger" oneof:"trigger never auto" desc:"Whether a former primary, whose timeline was abandoned, is resynced: when triggered, never, or by itself. Its diverged data is kept."`
	Adopt            bool          `default:"false" desc:"Whether a live dataset that pgresync did not make may be destroyed once it is replaced. When false it is renamed and kept."`
	FastForward      string        `split_words:"true" default:"never" oneof:"never when-slower" desc:"Whether a standby that streams, but is far behind, is replaced by a copy that is not: never, or when replaying the lag would take more than twice as long as an increment. It costs the down time of a switch, and counts against PGRESYNC_RESYNC_BUDGET. A standby that is paused, or delayed by recovery_min_apply_delay, is left alone."`
	FastForwardLeast time.Duration `split_words:"true" default:"10m" min:"1m" desc:"Shortest time to catch up that is worth it, with PGRESYNC_FAST_FORWARD=when-slower."`
	Track            string        `default:"interval" oneof:"never interval always" desc:"Whether to keep received data fresh while the standby is healthy, so that a later resync, or one after a fail-over, is small: at intervals, for which the primary is asked for a snapshot, or always, which is each snapshot that the primary makes of its own accord or for others. Not while less than a fifth of the pool is available."`
	TrackInterval    time.Duration `split_words:"true" default:"1h" min:"1m" desc:"How often, with PGRESYNC_TRACK=interval, by the clock: all standbys share one snapshot and one upload."`

	IdentityFile string `split_words:"true" desc:"Path of a file with this node's secret key of age (AGE-SECRET-KEY-1…), which opens encrypted streams. Its public key belongs in the primary's PGRESYNC_RECIPIENTS."`
	PlainStreams string `split_words:"true" default:"refuse" oneof:"refuse accept" desc:"What to do with streams that are not encrypted, where PGRESYNC_IDENTITY_FILE is set. Accept them only while encryption is being introduced."`

	// For the command seed alone.
	OperatorSeedFile string `split_words:"true" desc:"Path of the seed of a user nkey (SU…) with which the command seed signs what it asks of a running sidecar, instead of PGRESYNC_SIGNING_SEED_FILE. Its public key belongs in PGRESYNC_TRIGGER_KEYS of this node."`

	CheckInterval time.Duration `split_words:"true" default:"5s" min:"1s" desc:"How often the state of replication is looked at."`
	Debounce      time.Duration `default:"30s" min:"0s" desc:"How long a reason to resync must hold before it is acted upon."`
	ProveTimeout  time.Duration `split_words:"true" default:"2m" min:"5s" desc:"Longest time for a new copy to stream past its snapshot; after it the old one is switched back."`
	ResyncBudget  int           `split_words:"true" default:"6" min:"1" desc:"Resyncs that start by themselves in a day; after them an operator is asked for."`
	SameFailure   int           `split_words:"true" default:"5" min:"1" desc:"Times that a resync may fail in the same phase before an operator is asked for. A publisher or network that is away does not count."`
	BackoffMin    time.Duration `split_words:"true" default:"10s" min:"1s" desc:"Pause after a first failed resync; it doubles with each further one."`
	BackoffMax    time.Duration `split_words:"true" default:"30m" min:"1s" desc:"Longest such pause."`

	DiagnosticsDir string `split_words:"true" default:"/var/lib/pgresync/diagnostics" desc:"Directory in which a failed resync leaves what explains it: the newest ten bundles, at most 1 MiB each, without secrets. The word none leaves nothing."`

	HookBeforeStop  string        `split_words:"true" desc:"Program to run before PostgreSQL is stopped for a switch, with the facts in its environment as PGRESYNC_… variables. Its failure is logged and changes nothing."`
	HookAfterRejoin string        `split_words:"true" desc:"Program to run when the new copy has proven that it streams."`
	HookOnFailure   string        `split_words:"true" desc:"Program to run when a resync did not succeed, or needs an operator."`
	HookTimeout     time.Duration `split_words:"true" default:"30s" min:"1s" desc:"Longest time for a hook; after it the program is ended. One before the stop adds no down time."`

	ConvergeShort  time.Duration `split_words:"true" default:"10s" min:"0s" desc:"A pass that is expected to take less than this is the last one before the switch."`
	ConvergePasses int           `split_words:"true" default:"5" min:"1" desc:"Most passes before the switch."`
	AssumedRate    settings.Rate `split_words:"true" default:"50MiB/s" min:"1B/s" desc:"Speed of a transfer to reckon with until one was measured. Set it lower behind a slow line: the primary keeps WAL for the whole of a first pass that is expected to be short."`
	KeepPasses     int           `split_words:"true" default:"2" min:"1" desc:"Received snapshots to keep as bases of coming increments."`
	BookmarkKeep   int           `split_words:"true" default:"50" min:"0" desc:"Bookmarks of older received snapshots to keep, for the day this node is promoted; each can then be the base of an increment."`
}

// Complete finds the defaults that are not constants.
func (c *Config) Complete() {
	c.Common.Complete()
	if c.PGCommandUser == "" {
		c.PGCommandUser = c.PGUser
	}
	if c.Lineage == "" && c.Dataset != "" && c.Cluster != "" {
		c.Lineage = messages.Dataset(c.Dataset.Pool()).Child("pgresync").Child(messages.RelName(c.Cluster)) // checked by Validate
	}
}

// serverLogFile takes what the PostgreSQL of a data directory prints.
func (c *Config) serverLogFile(dataDir string) string {
	if c.PGLogFile != "" {
		return c.PGLogFile
	}
	return filepath.Join(filepath.Dir(dataDir), "pgresync.log")
}

// String is the effective configuration, secrets masked.
func (c *Config) String() string {
	text, err := settings.Effective(c)
	if err != nil {
		return err.Error()
	}
	return text
}
