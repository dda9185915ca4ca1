package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/internal/seal"
	"github.com/pgresync/pgresync/internal/secondary"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

var (
	_ secondary.ZFS         = (*zfsops.ZFS)(nil)
	_ secondary.Database    = (*pgops.Database)(nil)
	_ secondary.Witness     = (*pgops.Database)(nil)
	_ secondary.Judge       = (*bus.Client)(nil)
	_ secondary.Reserver    = (*bus.Client)(nil)
	_ secondary.Server      = server{}
	_ secondary.Postgres    = postgres{}
	_ secondary.Processes   = processes{}
	_ secondary.Hooks       = hooks{}
	_ secondary.Primary     = publisher{}
	_ secondary.Downloads   = downloads{}
	_ secondary.Estimator   = (*bus.Client)(nil)
	_ secondary.Announcer   = (*bus.Bus)(nil)
	_ secondary.Diagnostics = findings{}
)

// publisher fits the client and the lease to the service.
type publisher struct {
	*bus.Client
	link *bus.Bus
}

func (p publisher) Lease(ctx context.Context) (messages.Lease, uint64, error) {
	return p.link.Lease(ctx)
}

// downloads fits the data plane to the service.
type downloads struct {
	*stream.Reader
	identity *seal.Identity
}

func (d downloads) Read(ctx context.Context, rec messages.StreamRecord, node messages.NodeName, progress func(uint64),
	sink func(ctx context.Context, verified io.Reader) error,
) error {
	_, err := d.Reader.Read(ctx, rec, node, progress, func(ctx context.Context, verified io.Reader) error {
		plain, err := d.identity.Open(rec, verified)
		if err != nil {
			return err
		}
		return sink(ctx, plain)
	})
	return err
}

// server fits one data directory's control to the service.
type server struct{ *pgops.Server }

func (s server) Stop(ctx context.Context, immediate bool) error {
	mode := pgops.StopEscalate
	if immediate {
		mode = pgops.StopImmediate
	}
	return s.Server.Stop(ctx, mode)
}

// processes are this host's.
type processes struct{ root }

func (p processes) UsersOf(mountpoints []string) []string { return p.usersOf(mountpoints) }

// postgres makes servers and standbys as configured.
type postgres struct {
	cfg  Config
	root root
	pgops.Preparer
}

func newPostgres(cfg Config, r root) postgres {
	return postgres{cfg, r, pgops.Preparer{BinDir: cfg.PG.BinDir, ConfigFile: cfg.PGConfigFile}}
}

func (p postgres) Server(dir string) (secondary.Server, error) {
	s, err := pgops.NewServer(pgops.ServerOptions{
		BinDir: p.cfg.PG.BinDir, DataDir: dir, User: p.cfg.PGUser, LogFile: p.cfg.serverLogFile(dir), ConfigFile: p.cfg.PGConfigFile,
		StartTimeout: p.cfg.PGStartTimeout, StopTimeout: p.cfg.PGStopTimeout, Control: p.control(),
	})
	return server{s}, err
}

func (p postgres) control() pgops.Control {
	c := pgops.Control{Unit: p.cfg.PGUnit, Start: p.cfg.PGStartCommand, Stop: p.cfg.PGStopCommand, Status: p.cfg.PGStatusCommand, Via: p.root.executor()}
	if len(c.Start) > 0 {
		c.User = p.cfg.PGCommandUser
	}
	return c
}

func (p postgres) Major(ctx context.Context) (int, error) {
	return pgops.BinaryMajor(ctx, p.cfg.PG.BinDir)
}

func (p postgres) Owner() (uid, gid int, err error) { return pgops.LookupUser(p.cfg.PGUser) }

func serve(ctx context.Context, cfg Config, log zerolog.Logger) error {
	return separate(ctx, cfg, nil, log, func(ctx context.Context, r root) error { return serveAs(ctx, cfg, r, log) })
}

func serveAs(ctx context.Context, cfg Config, r root, log zerolog.Logger) error {
	// One stream at a time, in parts twice as large as publishers usually make them: a
	// limit below what is in use would only keep the collector busy.
	sidecar.LimitMemory(stream.Config{MaxUploads: 1, PartSize: 32 << 20}.Memory() + sidecar.Room)
	zfs := r.zfs()
	if _, err := zfs.Probe(ctx); err != nil {
		return err
	}
	db, err := pgops.NewDatabase(cfg.PG.Conninfo.Reveal())
	if err != nil {
		return err
	}
	identity, err := loadIdentity(cfg)
	if err != nil {
		return err
	}
	link, err := sidecar.Start(ctx, &cfg.Common, messages.SidecarSecondary, cfg.NATS.URL.List(), 0, log,
		func(ctx context.Context, link *bus.Bus) error { return link.Provision(ctx) })
	if err != nil {
		return err
	}
	defer link.Close()
	svc, v, err := newService(cfg, r, link, zfs, db, identity, log)
	if err != nil {
		return err
	}
	alone := newLock(cfg, "a sidecar")
	defer alone.release()
	return sidecar.Run(ctx, log, &cfg.Common, link, v,
		sidecar.Loop{Name: "resync", Run: func(ctx context.Context) error {
			if err := alone.await(ctx, r, log); err != nil {
				return err
			}
			return svc.Run(ctx)
		}},
		sidecar.Loop{Name: "operator", Run: func(ctx context.Context) error { return link.ServeOperator(ctx, operator(svc)) }},
		sidecar.Loop{Name: "triggers", Run: func(ctx context.Context) error { return triggers(ctx, cfg, link, svc) }},
	)
}

func loadIdentity(cfg Config) (*seal.Identity, error) {
	identity, err := seal.LoadIdentity(cfg.IdentityFile, cfg.PlainStreams == "accept")
	if err != nil {
		return nil, daemon.WithExitCode(fmt.Errorf("PGRESYNC_IDENTITY_FILE: %w", err), daemon.ExitUsage)
	}
	return identity, nil
}

func newService(
	cfg Config, r root, link *bus.Bus, zfs *zfsops.ZFS, db *pgops.Database, identity *seal.Identity, log zerolog.Logger,
) (*secondary.Service, sidecar.Views, error) {
	var v sidecar.Views
	reader, err := stream.NewReader(link.JetStream(), stream.Config{
		Cluster: cfg.Cluster, Publishers: link.Publishers(), RateLimit: uint64(cfg.RateLimit), StallTimeout: cfg.StallTimeout, CutTimeout: cfg.CutTimeout,
	})
	if err != nil {
		return nil, v, err
	}
	client := bus.NewClient(link)
	svc := secondary.New(serviceConfig(cfg), secondary.Deps{
		ZFS: zfs, Database: db, Witness: db, Judge: client, Reserver: client, Follower: db, Postgres: newPostgres(cfg, r), Processes: processes{r},
		Hooks:   newHooks(cfg),
		Primary: publisher{client, link}, Downloads: downloads{reader, identity}, Estimates: client, Announce: link, Now: time.Now, Log: log,
		Observe: func(e messages.Event) { v.Observe(e) }, Diagnostics: newDiagnostics(cfg),
	})
	v = views(cfg, svc, reader, link, zfs)
	return svc, v, nil
}

// operator is what this sidecar does for its operator.
func operator(svc *secondary.Service) map[messages.OperatorVerb]bus.OperatorHandler {
	return map[messages.OperatorVerb]bus.OperatorHandler{
		messages.VerbStatus: svc.Status, messages.VerbResync: svc.Resync, messages.VerbPause: svc.Pause,
		messages.VerbResume: svc.Resume, messages.VerbCleanup: svc.Cleanup,
	}
}

// triggers begin only when they can be journaled.
func triggers(ctx context.Context, cfg Config, link *bus.Bus, svc *secondary.Service) error {
	select {
	case <-svc.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	s := messages.Subjects{Cluster: cfg.Cluster}
	subjects := []string{s.TriggerResync(string(cfg.Node)), s.TriggerResync(messages.AllNodes)}
	return link.Triggers(ctx, "secondary-"+string(cfg.Node), subjects, cfg.TriggerMaxAge, svc.Trigger)
}

func stageDir(cfg Config) string {
	return filepath.Join("/run/pgresync", strings.ReplaceAll(string(cfg.Cluster), "/", "-"), "stage")
}

func serviceConfig(cfg Config) secondary.Config {
	mountpoints := map[messages.RelName]string{}
	for name, path := range cfg.Mountpoints {
		mountpoints[messages.RelName(name)] = path
	}
	track := cfg.TrackInterval
	if cfg.Track != "interval" {
		track = 0
	}
	return secondary.Config{
		TrackInterval: track, TrackAlways: cfg.Track == "always",
		Cluster: cfg.Cluster, Node: cfg.Node, Version: daemon.Version(), Dataset: cfg.Dataset, Lineage: cfg.Lineage,
		Mountpoint: cfg.Mountpoint, Mountpoints: mountpoints,
		StageDir:        stageDir(cfg),
		PrimaryConninfo: cfg.PrimaryConninfo.Reveal(), Settings: cfg.PostgresSettings, KeepFiles: cfg.KeepFiles,
		LowSettings: plan.SettingsPolicy(cfg.LowSettings),
		Mode:        secondary.Mode(cfg.Mode),
		AutoResync:  cfg.AutoResync, Adopt: cfg.Adopt, CheckInterval: cfg.CheckInterval, ProveTimeout: cfg.ProveTimeout,
		SnapshotMaxAge: 5 * time.Minute, KeepPasses: cfg.KeepPasses, KeepBases: cfg.BookmarkKeep, BudgetPerDay: cfg.ResyncBudget,
		SameFailure: cfg.SameFailure, Pace: resync.Pace{Min: cfg.BackoffMin, Max: cfg.BackoffMax},
		Diagnosis: plan.Policy{Debounce: cfg.Debounce, RejoinPromoted: plan.RejoinPolicy(cfg.RejoinPromoted), Restart: plan.RestartPolicy(cfg.Restart), Forward: plan.ForwardPolicy{
			Enabled: cfg.FastForward == "when-slower", Least: cfg.FastForwardLeast, Rate: uint64(cfg.AssumedRate),
		}},
		Converge: plan.ConvergePolicy{MaxPasses: cfg.ConvergePasses, Short: cfg.ConvergeShort, Rate: uint64(cfg.AssumedRate)},
	}
}
