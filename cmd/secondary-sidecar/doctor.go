package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/secondary"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

// doctorVerb examines as the sidecar would run: what NATS answers is not for root to
// read where privileges are separated.
func doctorVerb() settings.Verb[Config] {
	as := func(r root) settings.Verb[Config] {
		return sidecar.DoctorVerb(func(ctx context.Context, cfg Config) *sidecar.Examination { return examine(ctx, cfg, r) })
	}
	v := as(root{})
	v.Run = func(ctx context.Context, cfg Config, args []string, stdout io.Writer) error {
		cfg.SeparatePrivileges = cfg.SeparatePrivileges && os.Geteuid() == 0
		return separate(ctx, cfg, append([]string{v.Name}, args...), zerolog.Nop(), func(ctx context.Context, r root) error {
			return as(r).Run(ctx, cfg, args, stdout)
		})
	}
	return v
}

// examine gathers what doctor judges, and changes nothing.
func examine(ctx context.Context, cfg Config, r root) *sidecar.Examination {
	e := sidecar.Examine(&cfg.Common, messages.SidecarSecondary)
	e.Facts.Lineage = cfg.Lineage
	e.Facts.Root = e.Facts.Root || r.client != nil
	zfs := r.zfs()
	e.ZFS(ctx, zfs)
	examineLineage(ctx, cfg, e, zfs)
	p := &e.Facts.Postgres
	p.ConfigGiven = cfg.PGConfigFile
	db, err := pgops.NewDatabase(cfg.PG.Conninfo.Reveal())
	if err != nil {
		p.Problem = err.Error()
		return e
	}
	defer db.Close(ctx)
	e.Postgres(ctx, db, db.StandbyPrivileges)
	if p.BinMajor, err = pgops.BinaryMajor(ctx, cfg.PG.BinDir); err != nil {
		p.BinProblem = err.Error()
	}
	link := e.NATS(ctx, sidecar.BusConfig(&cfg.Common, messages.SidecarSecondary, cfg.NATS.URL.List(), 0, zerolog.Nop()), nil)
	if link == nil {
		return e
	}
	defer link.Close()
	if e.Facts.NATS.JetStreamProblem == "" {
		e.Facts.Resync.Plan, err = foresee(ctx, cfg, r, link, zfs, db)
		if err != nil {
			e.Facts.Resync.Problem = err.Error()
		}
	}
	return e
}

// foresee asks the sidecar of this node, if it runs: it knows its journal.
func foresee(ctx context.Context, cfg Config, r root, link *bus.Bus, zfs *zfsops.ZFS, db *pgops.Database) (*messages.ResyncPlan, error) {
	reply, err := link.Operate(ctx, cfg.Node, messages.SidecarSecondary, messages.VerbResync, messages.OperatorRequest{DryRun: true})
	if err == nil && reply.Plan != nil {
		return reply.Plan, nil
	}
	client := bus.NewClient(link)
	svc := secondary.New(serviceConfig(cfg), secondary.Deps{
		ZFS: zfs, Database: db, Follower: db, Postgres: newPostgres(cfg, r), Processes: processes{r}, Hooks: newHooks(cfg),
		Primary: publisher{client, link}, Estimates: client, Announce: link, Now: time.Now, Log: zerolog.Nop(),
	})
	return svc.Foresee(ctx)
}

func examineLineage(ctx context.Context, cfg Config, e *sidecar.Examination, zfs *zfsops.ZFS) {
	z := &e.Facts.ZFS
	if z.Problem != "" {
		return
	}
	root, err := zfs.List(ctx, cfg.Lineage)
	switch {
	case err == nil:
		z.LineageThere, z.LineageMark = true, root[0].Marks[messages.PropCluster]
	case !errors.Is(err, messages.ErrNotFound):
		z.Problem = err.Error()
	}
}
