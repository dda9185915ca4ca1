package main

import (
	"fmt"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/metrics"
	rows "github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/internal/page"
	"github.com/pgresync/pgresync/internal/secondary"
	"github.com/pgresync/pgresync/internal/sidecar"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

// views show what the standby's sidecar knows.
func views(cfg Config, svc *secondary.Service, reader *stream.Reader, link *bus.Bus, zfs *zfsops.ZFS) sidecar.Views {
	target := metrics.Target{Cluster: cfg.Cluster, Node: cfg.Node, Sidecar: messages.SidecarSecondary, Version: daemon.Version()}
	return sidecar.Views{
		Metrics: metrics.New(
			target,
			metrics.Sources{
				Ready: link.Ready, State: svc.State, Lag: svc.Lag,
				Downloaded: sidecar.Moved(reader.Totals), Children: sidecar.Children,
			},
			sidecar.LookAtPool(zfs, cfg.Lineage), sidecar.LookAtTree(zfs, sidecar.Live, cfg.Dataset),
			sidecar.LookAtTree(zfs, sidecar.Lineage, cfg.Lineage), sidecar.LookAtJetStream(link),
		),
		Page:  page.New(page.Identity(target), link, svc.State),
		Brief: func() string { return brief(svc.State(), link.Ready()) },
	}
}

// brief is the line of `systemctl status`.
func brief(st messages.NodeStatus, nats error) string {
	text := fmt.Sprintf("%s: %s", st.Phase, st.Verdict)
	if st.Reason != "" {
		text = fmt.Sprintf("%s: %s (%s)", st.Phase, st.Verdict, st.Reason)
	}
	if st.Phase != messages.PhaseIdle && st.Last != nil {
		text = fmt.Sprintf("resync %s: %s", st.Last.ID, st.Phase)
	}
	if share, rate, left := rows.Progress(st.Transfer); share > 0 {
		text += fmt.Sprintf(", %.0f %% of %q at %.1f MiB/s, %s left", 100*share, st.Transfer.Dataset, rate/(1<<20), left.Round(1e9))
	}
	if st.Paused != nil {
		text += ", paused"
	}
	if nats != nil {
		text += ", NATS is away"
	}
	return text
}
