package pgops_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// The role of PG-1: everything works without superuser once Privileges is empty,
// and what it lists is exactly what is missing.
func TestRoleWithoutSuperuser(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	c.Exec(t, `CREATE ROLE "sync er" LOGIN`)
	db := database(t, c, "'sync er'")
	calls := map[string]func(ctx context.Context) error{
		"identity": func(ctx context.Context) error { _, err := db.Identity(ctx); return err },
		"backup":   func(ctx context.Context) error { _, err := db.Backup(ctx, "x", nop); return err },
		"paths":    func(ctx context.Context) error { _, err := db.Paths(ctx); return err },
		"wal":      func(ctx context.Context) error { _, err := db.WAL(ctx); return err },
		"reserve":  func(ctx context.Context) error { _, err := db.ReserveSlot(ctx, "pgresync_a"); return err },
	}
	for name, call := range calls {
		err := call(t.Context())
		if !errors.Is(err, messages.ErrPermission) {
			t.Errorf("%s: got %v, want ErrPermission", name, err)
		} else if !strings.Contains(err.Error(), `"sync er"`) {
			t.Errorf("%s: got %v, want a statement that names the role", name, err)
		}
	}
	missing, err := db.Privileges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 4 {
		t.Errorf("missing: got %q, want REPLICATION, pg_monitor and two functions", missing)
	}
	if standby, err := db.StandbyPrivileges(t.Context()); err != nil || len(standby) != 2 {
		t.Errorf("missing on a standby: got %q, %v, want REPLICATION and pg_monitor", standby, err)
	}
	c.Exec(t, missing...)
	if missing, err = db.Privileges(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("after the grants: got %q, %v; want nothing missing", missing, err)
	}
	for name, call := range calls {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSendersOfOthersNeedMonitor(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	s := p.Standby(t, pgtest.Options{})
	p.Exec(t, "CREATE ROLE plain LOGIN")
	p.AwaitReplay(t, s)
	if got, err := database(t, p, "plain").Senders(t.Context()); !errors.Is(err, messages.ErrPermission) {
		t.Errorf("senders: got %v, %v; want ErrPermission, since the view pretends that nobody streams", got, err)
	}
	if got, err := database(t, s, "plain").Receiver(t.Context()); !errors.Is(err, messages.ErrPermission) {
		t.Errorf("receiver: got %+v, %v; want ErrPermission", got, err)
	}
}

func TestRefusedLoginsSayWhatToChange(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{HBA: "host all known 127.0.0.1/32 scram-sha-256\n"})
	c.Exec(t, "CREATE ROLE known LOGIN PASSWORD 'right'", "CREATE ROLE stranger LOGIN")
	for name, test := range map[string]struct{ conninfo, want string }{
		"no line in pg_hba.conf": {c.TCPConninfo("stranger"), "pg_hba.conf"},
		"wrong password":         {c.TCPConninfo("known") + " password=wrong", "password"},
	} {
		db, err := pgops.NewDatabase(test.conninfo)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Identity(t.Context())
		if !errors.Is(err, messages.ErrPermission) || !strings.Contains(err.Error(), test.want) || errors.Is(err, messages.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrPermission with the remedy", name, err)
		}
	}
	db, err := pgops.NewDatabase(c.TCPConninfo("known") + " password=right keepalives=1 connect_timeout=3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Slots(t.Context()); err != nil {
		t.Errorf("right password: %v", err)
	}
}

func TestSlots(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical"}})
	db := database(t, c, pgtest.Superuser)
	c.Exec(t, "SELECT pg_create_physical_replication_slot('foreign_slot')",
		"SELECT pg_create_logical_replication_slot('pgresync_logical', 'test_decoding')")
	first, err := db.ReserveSlot(t.Context(), "pgresync_db2_a")
	if err != nil {
		t.Fatal(err)
	}
	if first.RestartLSN == 0 || first.Active || !first.Keeps(first.RestartLSN, 1<<20) {
		t.Errorf("reserved: got %+v, want WAL kept at once", first)
	}
	c.Exec(t, "CREATE TABLE t AS SELECT generate_series(1, 1000)", "CHECKPOINT")
	again, err := db.ReserveSlot(t.Context(), "pgresync_db2_a")
	if err != nil {
		t.Fatal(err)
	}
	if again.RestartLSN <= first.RestartLSN {
		t.Errorf("reserved again: got %s, want it to have moved on from %s", again.RestartLSN, first.RestartLSN)
	}
	list, err := db.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]messages.SlotState{again}, list); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	for _, name := range []string{"foreign_slot", "pgresync_", "pgresync_logical", "pgresync_A", "pgresyncx", "pgresync_a'b"} {
		if _, err := db.ReserveSlot(t.Context(), name); !errors.Is(err, messages.ErrNotOurs) {
			t.Errorf("reserve %q: got %v, want ErrNotOurs", name, err)
		}
		if err := db.DropSlot(t.Context(), name); !errors.Is(err, messages.ErrNotOurs) {
			t.Errorf("drop %q: got %v, want ErrNotOurs", name, err)
		}
	}
	for range 2 {
		if err := db.DropSlot(t.Context(), "pgresync_db2_a"); err != nil {
			t.Errorf("drop: %v", err)
		}
	}
	if got := c.Text(t, "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots"); got != "foreign_slot pgresync_logical" {
		t.Errorf("slots left: got %q, want those that are not ours", got)
	}
}

func TestLostSlotIsReportedAndReplaced(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "2MB"}})
	db := database(t, c, pgtest.Superuser)
	if _, err := db.ReserveSlot(t.Context(), "pgresync_a"); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		c.Exec(t, "SELECT pg_switch_wal() FROM txid_current()", "CHECKPOINT")
	}
	list, err := db.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].WALStatus != messages.WALLost || list[0].Keeps(1, 1<<20) {
		t.Errorf("slots: got %+v, want one that is lost", list)
	}
	got, err := db.ReserveSlot(t.Context(), "pgresync_a")
	if err != nil || !got.Keeps(got.RestartLSN, 1<<20) {
		t.Errorf("reserve a lost slot: got %+v, %v; want a new one", got, err)
	}
}
