package pgops_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/pgops"
)

func TestReadiness(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{
		"max_wal_senders": "7", "max_replication_slots": "5", "max_slot_wal_keep_size": "64MB",
	}})
	c.Exec(t, "SELECT pg_create_physical_replication_slot('one')", "CREATE ROLE plain LOGIN")
	want := pgops.Readiness{WALLevel: "replica", HotStandby: true, MaxSenders: 7, MaxSlots: 5, Slots: 1, MaxSlotKeepMB: 64}
	for _, role := range []string{pgtest.Superuser, "plain"} {
		got, err := database(t, c, role).Readiness(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Version.Major() < 12 {
			t.Errorf("version %d", got.Version)
		}
		got.Version = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("as %s (-want +got):\n%s", role, diff)
		}
	}
}
