package pgops_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/pgops"
)

func TestReadiness(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{
		"max_wal_senders": "7", "max_replication_slots": "5", "max_slot_wal_keep_size": "64MB",
	}})
	c.Exec(t, "SELECT pg_create_physical_replication_slot('one')", "CREATE ROLE plain LOGIN")
	// A role without pg_monitor has to see it too: it is doctor's.
	sender, err := pgconn.Connect(t.Context(), c.Conninfo(pgtest.Superuser)+" replication=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close(context.WithoutCancel(t.Context())) })
	want := pgops.Readiness{WALLevel: "replica", HotStandby: true, MaxSenders: 7, Senders: 1, MaxSlots: 5, Slots: 1, MaxSlotKeepMB: 64}
	for _, role := range []string{pgtest.Superuser, "plain"} {
		got, err := database(t, c, role).Readiness(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Version.Major() < 12 {
			t.Errorf("version %d", got.Version)
		}
		if may := role == pgtest.Superuser; may != (got.DataDir == c.DataDir) || may != (got.ConfigFile == filepath.Join(c.DataDir, "postgresql.conf")) {
			t.Errorf("as %s: data directory %q, configuration %q", role, got.DataDir, got.ConfigFile)
		}
		got.Version, got.DataDir, got.ConfigFile = 0, "", ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("as %s (-want +got):\n%s", role, diff)
		}
	}
}
