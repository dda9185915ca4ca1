package main

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/primary"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

// examine gathers what doctor judges, and changes nothing.
func examine(ctx context.Context, cfg Config) *sidecar.Examination {
	e := sidecar.Examine(&cfg.Common, messages.SidecarPrimary)
	e.ZFS(ctx, zfsops.New(zfsops.Options{}))
	e.Facts.ZFS.PoolLimit = cfg.PoolLimit
	db, err := pgops.NewDatabase(cfg.PG.Conninfo.Reveal())
	if err != nil {
		e.Facts.Postgres.Problem = err.Error()
	} else {
		defer db.Close(ctx)
		e.Postgres(ctx, db, db.Privileges)
		examineLayout(ctx, cfg, e, db)
	}
	e.Facts.NATS.Embedded, e.Facts.NATS.NeedStore = cfg.NATS.URL.IsEmbedded(), int64(cfg.BucketMax)
	urls := cfg.NATS.URL.List()
	if cfg.NATS.URL.IsEmbedded() {
		urls = []string{"nats://" + cfg.NATSListen}
	}
	link := e.NATS(ctx, sidecar.BusConfig(&cfg.Common, messages.SidecarPrimary, urls, cfg.LeaseTTL, zerolog.Nop()), func(ctx context.Context, link *bus.Bus) error {
		c := streamConfig(cfg)
		c.Provision = false
		store, err := stream.NewStore(link.JetStream(), c)
		if err != nil {
			return err
		}
		return store.Provision(ctx)
	})
	if link != nil {
		link.Close()
	}
	return e
}

func examineLayout(ctx context.Context, cfg Config, e *sidecar.Examination, db *pgops.Database) {
	z := &e.Facts.ZFS
	if e.Facts.Postgres.Identity == nil || len(z.Live) == 0 {
		return
	}
	paths, err := db.Paths(ctx)
	if err == nil {
		z.Layout, err = primary.Layout(serviceConfig(cfg, cfg.LeaseTTL), z.Live, paths)
	}
	if err != nil {
		z.LayoutProblem = err.Error()
	}
}
