package main

import (
	"testing"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/sidecartest"
	"github.com/pgresync/pgresync/internal/zfstest"
)

// newNode is the environment of a sidecar on a node without any data yet.
func newNode(t *testing.T) {
	t.Helper()
	zfs := zfstest.Fake(t)
	zfs.InPath(t)
	for key, value := range map[string]string{
		"CLUSTER": "main", "UNSIGNED": "documents,triggers", "NODE": "db2", "DATASET": string(zfs.Root) + "/pg", "NATS_URL": natstest.Run(t).URL(),
		"PG_CONNINFO": "host=" + t.TempDir() + " user=postgres", "PG_BIN_DIR": pgtest.BinDir(t), "CHECK_INTERVAL": "1s",
	} {
		t.Setenv("PGRESYNC_"+key, value)
	}
}

func TestSidecarShowsWhatItKnows(t *testing.T) {
	newNode(t)
	manager := sidecartest.NewManager(t)
	url := sidecartest.Listening(t, run)
	const me = `{cluster="main",node="db2",sidecar="secondary"}`
	sidecartest.Shows(t, url, map[string][]string{
		"/livez": {"ok"}, "/readyz": {"ok"}, "/": {"<title>pgresync</title>"},
		"/state": {`"node":"db2","sidecar":"secondary"`, `"state":"idle"`, `"verdict":"wait"`},
		"/metrics": {
			"pgresync_ready" + me + " 1", "pgresync_kept_datasets" + me + " 0", `pgresync_resync_phase{cluster="main",node="db2",phase="idle",sidecar="secondary"} 1`,
			`pgresync_postgres_role{cluster="main",node="db2",role="down",sidecar="secondary"} 1`, `verdict="wait"} 1`,
			`probe="pool",sidecar="secondary"} 1`, `probe="live",sidecar="secondary"} 1`, `probe="lineage",sidecar="secondary"} 1`, `probe="jetstream",sidecar="secondary"} 1`,
			`pgresync_parts_total{cluster="main",direction="down",node="db2",sidecar="secondary"} 0`, `pgresync_child_processes_started_total{cluster="main",node="db2",program="zfs",sidecar="secondary"}`,
		},
	})
	manager.Hears("READY=1")
	manager.Hears("STATUS=waits for NATS")
}
