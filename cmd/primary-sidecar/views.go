package main

import (
	"fmt"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/metrics"
	"github.com/pgresync/pgresync/internal/page"
	"github.com/pgresync/pgresync/internal/primary"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

// views show what the publisher knows.
func views(cfg Config, svc *primary.Service, hub *stream.Hub, store *stream.Store, link *bus.Bus, zfs *zfsops.ZFS, db *pgops.Database) sidecar.Views {
	target := metrics.Target{Cluster: cfg.Cluster, Node: cfg.Node, Sidecar: messages.SidecarPrimary, Version: daemon.Version()}
	return sidecar.Views{
		Metrics: metrics.New(
			target,
			metrics.Sources{
				Ready: link.Ready, Publishes: svc.Publishes, Streams: hub.Streams, Waiting: hub.Waiting,
				Uploaded: sidecar.Moved(store.Totals), Children: sidecar.Children,
			},
			sidecar.LookAtStatus(svc.Status), sidecar.LookAtSlots(db), sidecar.LookAtPool(zfs, cfg.Dataset),
			sidecar.LookAtTree(zfs, sidecar.Live, cfg.Dataset), sidecar.LookAtJetStream(link),
		),
		Page:  page.New(page.Identity(target), link, nil),
		Brief: func() string { return brief(svc.Publishes(), link.Ready(), hub.Streams(), hub.Waiting()) },
	}
}

// brief is the line of `systemctl status`.
func brief(publishes bool, nats error, streams []messages.StreamRecord, waiting int) string {
	running := 0
	for _, r := range streams {
		if r.State == messages.StreamRunning {
			running++
		}
	}
	switch {
	case nats != nil:
		return "waits for NATS"
	case !publishes:
		return "standing by: this node does not publish"
	case running+waiting == 0:
		return "publishing"
	}
	return fmt.Sprintf("publishing, %d uploads run, %d wait", running, waiting)
}
