package pgops_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
)

func TestFollowPointsARunningStandbyElsewhere(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{})
	b, c := a.Standby(t, pgtest.Options{}), a.Standby(t, pgtest.Options{})
	db := database(t, c, pgtest.Superuser)
	b.Promote(t)
	want := b.TCPConninfo(pgtest.Superuser) + ` application_name='it\'s odd'`
	if err := db.Follow(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	b.Exec(t, "CREATE TABLE only_after_the_promotion()")
	b.AwaitReplay(t, c)
	if got, err := db.Upstream(t.Context()); err != nil || got != want {
		t.Errorf("upstream: got %q, %v, want %q", got, err, want)
	}
	if got := c.Text(t, "SELECT timeline_id FROM pg_control_checkpoint()"); got == "" {
		t.Error("the follower does not answer")
	}
	if err := database(t, b, pgtest.Superuser).Follow(t.Context(), want); !errors.Is(err, messages.ErrRefused) {
		t.Errorf("a primary: got %v, want ErrRefused", err)
	}
}

// What a server logs of a statement has its password in it.
func TestFollowTellsNoLogOfThePassword(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{})
	a.Exec(t, `CREATE ROLE "sync er" LOGIN REPLICATION`, `GRANT pg_monitor TO "sync er"`)
	c := a.Standby(t, pgtest.Options{Settings: map[string]string{"log_statement": "all", "log_min_duration_statement": "0"}})
	a.AwaitReplay(t, c)
	conninfo := a.TCPConninfo(pgtest.Superuser) + " password=hush"

	err := database(t, c, "'sync er'").Follow(t.Context(), conninfo)
	if !errors.Is(err, messages.ErrPermission) || !strings.Contains(err.Error(), `TO "sync er"; GRANT EXECUTE`) {
		t.Errorf("got %v, want ErrPermission with what to grant", err)
	}
	if log := c.Log(t); strings.Contains(log, "hush") {
		t.Errorf("it was tried:\n%s", log)
	}
	db := database(t, c, pgtest.Superuser)
	if err := db.Follow(t.Context(), conninfo); err != nil {
		t.Fatal(err)
	}
	if log := c.Log(t); strings.Contains(log, "ALTER SYSTEM SET") {
		t.Errorf("the statement was logged:\n%s", log)
	}
	// The connection is kept, and is as it was.
	if _, err := db.Upstream(t.Context()); err != nil || !strings.Contains(c.Log(t), "current_setting('primary_conninfo')") {
		t.Errorf("what came later was not logged, %v", err)
	}
}

func TestFollowWithoutSuperuser(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{})
	if v, err := strconv.Atoi(a.Text(t, "SELECT current_setting('server_version_num')")); err != nil || v < 150000 {
		t.Skipf("version %d: the right cannot be granted", v)
	}
	a.Exec(t, `CREATE ROLE follower LOGIN`, `GRANT pg_monitor TO follower`, `GRANT ALTER SYSTEM ON PARAMETER primary_conninfo TO follower`,
		`GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO follower`)
	c := a.Standby(t, pgtest.Options{})
	a.AwaitReplay(t, c)
	db, want := database(t, c, "follower"), a.TCPConninfo(pgtest.Superuser)
	if err := db.Follow(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the new setting", func() bool {
		got, err := db.Upstream(t.Context())
		return err == nil && got == want
	})
}

func TestSlotsTellWhatTheyHoldBack(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{})
	db := database(t, a, pgtest.Superuser)
	if unbounded, err := db.SlotsUnbounded(t.Context()); err != nil || !unbounded {
		t.Errorf("default of max_slot_wal_keep_size: got %v, %v, want unbounded", unbounded, err)
	}
	a.Exec(t, "ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'", "SELECT pg_reload_conf()")
	pgtest.Eventually(t, "the limit", func() bool {
		unbounded, err := db.SlotsUnbounded(t.Context())
		return err == nil && !unbounded
	})
	if _, err := db.ReserveSlot(t.Context(), "pgresync_db2_a"); err != nil {
		t.Fatal(err)
	}
	s := a.Standby(t, pgtest.Options{Settings: map[string]string{
		"primary_slot_name": "pgresync_db2_a", "hot_standby_feedback": "on", "wal_receiver_status_interval": "100ms",
	}})
	held := func() bool {
		slots, err := db.SlotUses(t.Context())
		return err == nil && len(slots) == 1 && slots[0].HoldsXmin
	}
	pgtest.Eventually(t, "the standby's feedback", held)
	s.Stop(t, "immediate")
	pgtest.Eventually(t, "the end of the walsender", func() bool {
		slots, err := db.SlotUses(t.Context())
		return err == nil && !slots[0].Active
	})
	if !held() {
		t.Error("the xmin of a dead standby went by itself; nothing has to drop its slot then")
	}
}

// A former primary keeps the slots of those that followed it, and with them the log.
func TestSlotsOfAFormerPrimaryAreDroppedInRecovery(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	db := database(t, p, pgtest.Superuser)
	const unused, used = "pgresync_db2_a", "pgresync_db3_a"
	for _, name := range []string{unused, used} {
		if _, err := db.ReserveSlot(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	p.Standby(t, pgtest.Options{Settings: map[string]string{"primary_slot_name": used}})
	p.Stop(t, "fast")
	p.Write(t, "standby.signal", "")
	p.Start(t)
	pgtest.Eventually(t, "both slots are there, the second in use", func() bool {
		slots, err := db.SlotUses(t.Context())
		return err == nil && len(slots) == 2 && !slots[0].Active && slots[0].RestartLSN != 0 && slots[1].Active
	})
	if err := db.DropSlot(t.Context(), used); !errors.Is(err, messages.ErrBusy) {
		t.Errorf("a slot that a cascading standby uses: got %v, want ErrBusy", err)
	}
	if err := db.DropSlot(t.Context(), unused); err != nil {
		t.Errorf("an unused one: %v", err)
	}
	if slots, err := db.SlotUses(t.Context()); err != nil || len(slots) != 1 || slots[0].Name != used {
		t.Errorf("left: %+v, %v, want %s", slots, err, used)
	}
}
