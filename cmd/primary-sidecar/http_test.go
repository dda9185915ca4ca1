package main

import (
	"os"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/sidecartest"
	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
)

func TestSidecarShowsWhatItKnows(t *testing.T) {
	site(t, nil, pgtest.Options{}, pgtest.Superuser)
	t.Setenv("PGRESYNC_SNAPSHOT_INTERVAL", "0")
	manager := sidecartest.NewManager(t)
	url := sidecartest.Listening(t, run)
	sidecartest.Shows(t, url, map[string][]string{
		"/livez": {"ok"}, "/readyz": {"ok"}, "/": {"<title>pgresync</title>"}, "/state": {`"publisher":"db1"`, `"state":"publishing"`},
		"/metrics": {
			`pgresync_ready{cluster="main",node="db1",sidecar="primary"} 1`, `pgresync_publishing{cluster="main",node="db1",sidecar="primary"} 1`,
			`pgresync_postgres_role{cluster="main",node="db1",role="primary",sidecar="primary"} 1`,
			`probe="slots",sidecar="primary"} 1`, `probe="pool",sidecar="primary"} 1`, `probe="live",sidecar="primary"} 1`, `probe="jetstream",sidecar="primary"} 1`,
			`pgresync_jetstream_limit_bytes{cluster="main",node="db1",sidecar="primary",which="parts"}`, `pgresync_child_processes_started_total{cluster="main",node="db1",program="zfs",sidecar="primary"}`,
		},
	})
	manager.Hears("READY=1")
	manager.Hears("STATUS=publishing")
}

// A boot does not hang on a NATS that is away, and unused slots are looked for meanwhile:
// it is the only thing that is asked of PostgreSQL then. So is room for snapshots.
func TestSystemdSlotsAndRoomDoNotWaitForNATS(t *testing.T) {
	zfs := zfstest.Fake(t)
	pg := siteOn(t, zfs, []string{"quota=1000", "refquota=1000"}, pgtest.Options{}, pgtest.Superuser)
	live := messages.Dataset(os.Getenv("PGRESYNC_DATASET"))
	zfs.Write(t, live, 950)
	id := messages.NewSnapshotID(time.Now())
	err := zfs.ZFS.SnapshotTree(t.Context(), live, id.ShortName(), map[string]string{messages.PropID: string(id), messages.PropState: messages.StateComplete})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGRESYNC_NATS_URL", "nats://127.0.0.1:1")
	manager := sidecartest.NewManager(t)
	sidecartest.Start(t, run, nil)
	manager.Hears("READY=1")
	manager.Hears("STATUS=waits for NATS")
	pgtest.Eventually(t, "slots are looked for", func() bool {
		return pg.Text(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgresync'") != "0"
	})
	pgtest.Eventually(t, "the snapshot is given up for its bookmark", func() bool {
		h, err := zfs.ZFS.Histories(t.Context(), live)
		return err == nil && len(h[live]) == 1 && h[live][0].Bookmark
	})
}
