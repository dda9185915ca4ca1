package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/primary"
	"github.com/pgresync/pgresync/internal/seal"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

var (
	_ primary.Database  = (*pgops.Database)(nil)
	_ primary.Logs      = (*pgops.Database)(nil)
	_ primary.Slots     = (*pgops.Database)(nil)
	_ primary.ZFS       = (*zfsops.ZFS)(nil)
	_ primary.Leases    = (*bus.Bus)(nil)
	_ primary.Announcer = (*bus.Bus)(nil)
	_ primary.Uploads   = uploads{}
	_ primary.Sealer    = (*seal.Recipients)(nil)
	_ bus.Service       = (*primary.Service)(nil)

	_ primary.SlotDropper = (*pgops.Database)(nil)
)

// uploads fits the data plane to the service.
type uploads struct{ *stream.Hub }

func (u uploads) Join(ctx context.Context, r messages.StreamRecord, reader messages.NodeName, not messages.MessageID,
	open func(ctx context.Context) (io.ReadCloser, error),
) (messages.StreamRecord, error) {
	return u.Hub.Join(ctx, stream.Spec{
		Stream: r.Stream, Node: r.Node, Dataset: r.Dataset, To: r.To, From: r.From, Flags: r.Flags,
		Recipients: r.Recipients, Resumed: r.Resumed, Estimate: r.Estimate, Lease: r.Lease, Not: not,
	}, reader, open)
}

func serve(ctx context.Context, cfg Config, log zerolog.Logger) error {
	sidecar.LimitMemory(heapLimit(cfg))
	zfs := zfsops.New(zfsops.Options{})
	if _, err := zfs.Probe(ctx); err != nil {
		return err
	}
	db, err := pgops.NewDatabase(cfg.PG.Conninfo.Reveal(), pgops.WithBackupTimeout(cfg.BackupTimeout))
	if err != nil {
		return err
	}
	recipients, err := seal.NewRecipients(cfg.Recipients)
	if err != nil {
		return daemon.WithExitCode(fmt.Errorf("PGRESYNC_RECIPIENTS: %w", err), daemon.ExitUsage)
	}
	// An unused slot pins WAL whether NATS is there or not, and so does a snapshot what is
	// overwritten (I-9).
	slots := primary.NewSlotUpkeep(serviceConfig(cfg, cfg.LeaseTTL), db, time.Now, log)
	defer beside(ctx, log, sidecar.Loop{Name: "slots", Run: slots.Run})()
	snapshots := primary.NewSnapshotUpkeep(serviceConfig(cfg, cfg.LeaseTTL), zfs, time.Now, log)
	defer beside(ctx, log, sidecar.Loop{Name: "snapshots", Run: snapshots.Run})()
	urls, closeServer, err := server(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closeServer()
	var store *stream.Store
	link, err := sidecar.Start(ctx, &cfg.Common, messages.SidecarPrimary, urls, cfg.LeaseTTL, log, func(ctx context.Context, link *bus.Bus) (err error) {
		if store == nil {
			if store, err = newStore(cfg, link); err != nil {
				return daemon.Permanent(err)
			}
		}
		return errors.Join(link.Provision(ctx), store.Provision(ctx))
	})
	if err != nil {
		return err
	}
	defer link.Close()
	hub := stream.NewHub(store, stream.OnChange(func(r messages.StreamRecord) { record(ctx, link, r, log) }))
	var v sidecar.Views
	svc := primary.New(serviceConfig(cfg, link.LeaseTTL()), primary.Deps{
		Database: db, Slots: db, Logs: db, ZFS: zfs, Uploads: uploads{hub}, Seals: recipients, Leases: link, Now: time.Now, Log: log,
		Announce: sidecar.Tee{Announcer: link, Observe: func(e messages.Event) { v.Observe(e) }},
	})
	snapshots.Heed(svc)
	v = views(cfg, svc, hub, store, link, zfs, db)
	triggers := []string{messages.Subjects{Cluster: cfg.Cluster}.TriggerSnapshot()}
	return sidecar.Run(ctx, log, &cfg.Common, link, v,
		sidecar.Loop{Name: "uploads", Run: hub.Run},
		sidecar.Loop{Name: "publisher", Run: svc.Run},
		sidecar.Loop{Name: "requests", Run: func(ctx context.Context) error { return link.Serve(ctx, svc) }},
		sidecar.Loop{Name: "operator", Run: func(ctx context.Context) error { return link.ServeOperator(ctx, operator(svc)) }},
		// One durable for all publishers: whoever is on duty reads it and obeys.
		sidecar.Loop{Name: "triggers", Run: func(ctx context.Context) error {
			return svc.WhilePublishing(ctx, func(ctx context.Context) error {
				return link.Triggers(ctx, "primary", triggers, cfg.TriggerMaxAge, svc.Trigger)
			})
		}},
	)
}

// beside keeps a loop going that needs no NATS, until stop is called.
func beside(ctx context.Context, log zerolog.Logger, l sidecar.Loop) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g sync.WaitGroup
	g.Go(func() { _ = daemon.Keep(ctx, log, l.Name, l.Run, daemon.KeepOptions{}) })
	return func() { cancel(); g.Wait() }
}

// operator is what this sidecar does for its operator.
func operator(svc *primary.Service) map[messages.OperatorVerb]bus.OperatorHandler {
	return map[messages.OperatorVerb]bus.OperatorHandler{
		messages.VerbStatus: svc.Status, messages.VerbSnapshot: svc.TakeSnapshot, messages.VerbStreams: svc.ListStreams,
		messages.VerbPause: svc.Pause, messages.VerbResume: svc.Resume, messages.VerbCleanup: svc.Cleanup,
	}
}

// server starts the embedded NATS server when it is asked for.
func server(ctx context.Context, cfg Config, log zerolog.Logger) (urls []string, stop func(), err error) {
	if !cfg.NATS.URL.IsEmbedded() {
		return cfg.NATS.URL.List(), func() {}, nil
	}
	e, err := bus.StartEmbedded(ctx, bus.EmbeddedConfig{
		Listen: cfg.NATSListen, StoreDir: cfg.NATSStoreDir, MaxStore: int64(cfg.NATSStoreMax),
		Username: cfg.NATS.User, Password: cfg.NATS.Password.Reveal(), Token: cfg.NATS.Token.Reveal(),
		CertFile: cfg.NATS.Cert, KeyFile: cfg.NATS.Key, CAFile: cfg.NATS.CA,
		Log: func(level, text string) { log.Debug().Str("nats_level", level).Msg(text) },
	})
	if err != nil {
		return nil, nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	log.Info().Str("url", e.URL()).Msg("embedded NATS server")
	return []string{e.URL()}, e.Close, nil
}

// heapLimit has room for the parts of all streams that may be sent at once.
func heapLimit(cfg Config) int64 {
	limit := streamConfig(cfg).Memory() + sidecar.Room
	if cfg.NATS.URL.IsEmbedded() {
		limit = max(limit, sidecar.HeapWithServer)
	}
	return limit
}

// newStore is where parts are published, by the link's own key.
func newStore(cfg Config, link *bus.Bus) (*stream.Store, error) {
	parts := streamConfig(cfg)
	parts.Signer = link.Signer()
	return stream.NewStore(link.JetStream(), parts)
}

func streamConfig(cfg Config) stream.Config {
	storage := jetstream.FileStorage
	if cfg.NATS.Storage == "memory" {
		storage = jetstream.MemoryStorage
	}
	return stream.Config{
		Cluster: cfg.Cluster, PartSize: int(cfg.PartSize), Window: int(cfg.Window), MaxBucket: int64(cfg.BucketMax),
		MaxUploads: cfg.MaxStreams, Replicas: cfg.NATS.Replicas, BucketReplicas: cfg.BucketReplicas,
		Compression: cfg.BucketCompression == "s2", Storage: storage, Provision: cfg.NATS.Provision,
		Linger:      max(cfg.Linger, 1), // its zero would be the default
		ReaderGrace: cfg.ReaderGrace, RateLimit: uint64(cfg.RateLimit),
		StallTimeout: cfg.StallTimeout, CutTimeout: cfg.CutTimeout,
	}
}

func serviceConfig(cfg Config, leaseTTL time.Duration) primary.Config {
	return primary.Config{
		Cluster: cfg.Cluster, Node: cfg.Node, Version: daemon.Version(), Dataset: cfg.Dataset, Ignore: cfg.IgnoreDatasets,
		SendWAL: cfg.SendWAL == "always", Host: cfg.AdvertiseHost, Port: cfg.AdvertisePort,
		Interval: cfg.SnapshotInterval, Gather: cfg.Gather, LeaseTTL: leaseTTL, PoolLimit: cfg.PoolLimit,
		KeepSnapshots: cfg.SnapshotKeep, KeepBookmarks: cfg.BookmarkKeep,
		StandbyExpiry: cfg.StandbyExpiry, SlotExpiry: cfg.SlotExpiry, SlotXminExpiry: cfg.SlotXminExpiry,
	}
}

// record keeps the KV record of a stream; it is for people, so that a failure is
// not one of the stream.
func record(ctx context.Context, link *bus.Bus, r messages.StreamRecord, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := link.PutStream(ctx, r); err != nil && ctx.Err() == nil {
		log.Debug().Err(err).Str("stream", string(r.Stream)).Msg("stream record not written")
	}
}
