package pgops_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

func identity(t *testing.T, c *pgtest.Cluster) messages.Identity {
	t.Helper()
	id, err := database(t, c, pgtest.Superuser).Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityThroughAPromotion(t *testing.T) {
	a := pgtest.New(t, pgtest.Options{})
	b := a.Standby(t, pgtest.Options{})
	follower := b.Standby(t, pgtest.Options{}) // cascades from b
	a.Exec(t, "CREATE TABLE t AS SELECT generate_series(1, 1000)")
	a.AwaitReplay(t, b)

	primary := identity(t, a)
	if got, want := primary.SystemID.String(), a.Text(t, "SELECT system_identifier FROM pg_control_system()"); got != want {
		t.Errorf("system id: got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(int(primary.Version)), a.Text(t, "SELECT current_setting('server_version_num')"); got != want {
		t.Errorf("version: got %s, want %s", got, want)
	}
	if primary.Role != messages.RolePrimary || primary.LSN == 0 || !cmp.Equal(primary.Timeline, messages.TimelineHistory{Current: 1}) {
		t.Errorf("primary: got %+v, want a primary on timeline 1", primary)
	}
	standby := identity(t, b)
	if standby.Role != messages.RoleStandby || standby.SystemID != primary.SystemID || standby.Timeline.Current != 1 || standby.LSN < primary.LSN {
		t.Errorf("standby: got %+v, want it to be level with %+v", standby, primary)
	}

	b.Promote(t)
	b.Exec(t, "INSERT INTO t VALUES (0)")
	promoted := identity(t, b)
	fork, ok := promoted.Timeline.ForkPoint(1)
	if promoted.Role != messages.RolePrimary || promoted.Timeline.Current != 2 || !ok || fork < primary.LSN || fork > promoted.LSN {
		t.Errorf("promoted: got %+v, want timeline 2 that left timeline 1 at or after %s", promoted, primary.LSN)
	}
	// No restartpoint yet, so that pg_control still says 1: the trap of asking it.
	b.AwaitReplay(t, follower)
	if got := follower.Text(t, "SELECT timeline_id FROM pg_control_checkpoint()"); got != "1" {
		t.Logf("pg_control of the follower is on timeline %s already", got)
	}
	if got := identity(t, follower); !cmp.Equal(got.Timeline, promoted.Timeline) || got.Role != messages.RoleStandby {
		t.Errorf("standby of the promoted: got %+v, want timeline %+v", got, promoted.Timeline)
	}
}

func TestReceiverAndSendersAgree(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	db := database(t, p, pgtest.Superuser)
	slot, err := db.ReserveSlot(t.Context(), "pgresync_db2_x")
	if err != nil {
		t.Fatal(err)
	}
	s := p.Standby(t, pgtest.Options{Settings: map[string]string{
		"primary_slot_name": slot.Name, "cluster_name": "db2",
	}})
	p.AwaitReplay(t, s)

	var at messages.Receiver
	sdb := database(t, s, pgtest.Superuser)
	pgtest.Eventually(t, "the receiver streams", func() bool {
		at, err = sdb.Receiver(t.Context())
		return err != nil || at.Streaming
	})
	if err != nil {
		t.Fatal(err)
	}
	want := messages.Receiver{
		InRecovery: true, Streaming: true, SenderHost: p.SocketDir, SenderPort: p.Port, SlotName: slot.Name,
		Timeline: 1, ReceiveLSN: at.ReceiveLSN, ReplayLSN: at.ReplayLSN,
	}
	if diff := cmp.Diff(want, at); diff != "" || at.ReplayLSN == 0 || at.ReceiveLSN == 0 {
		t.Errorf("receiver (-want +got):\n%s", diff)
	}
	var senders []messages.Sender
	pgtest.Eventually(t, "the standby reports what it replayed", func() bool {
		senders, err = db.Senders(t.Context())
		return err != nil || len(senders) > 0 && senders[0].ReplayLSN != 0 && senders[0].State == "streaming"
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(senders) != 1 || senders[0].SlotName != slot.Name || senders[0].State != "streaming" || senders[0].ReplayLSN == 0 {
		t.Errorf("senders: got %+v, want the one standby streaming through %s", senders, slot.Name)
	}
	if _, err := db.ReserveSlot(t.Context(), slot.Name); !errors.Is(err, messages.ErrBusy) {
		t.Errorf("reserve a slot in use: got %v, want ErrBusy", err)
	}
	if err := db.DropSlot(t.Context(), slot.Name); !errors.Is(err, messages.ErrBusy) {
		t.Errorf("drop a slot in use: got %v, want ErrBusy", err)
	}

	s.Exec(t, "SELECT pg_wal_replay_pause()")
	p.Stop(t, "immediate")
	pgtest.Eventually(t, "the receiver ends", func() bool {
		at, err = sdb.Receiver(t.Context())
		return err == nil && !at.Streaming
	})
	if !at.InRecovery || !at.Paused || at.Timeline != 1 || at.ReplayLSN == 0 {
		t.Errorf("without a primary: got %+v, want a paused standby on timeline 1", at)
	}
	if _, err := db.Identity(t.Context()); !errors.Is(err, messages.ErrUnavailable) {
		t.Errorf("identity of a server that is down: got %v, want ErrUnavailable", err)
	}
}

// One that is refused tries again, and PostgreSQL says "streaming" each time it is
// connected.
func TestReceiverThatIsRefusedDoesNotStream(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	s := p.Standby(t, pgtest.Options{Settings: map[string]string{"wal_retrieve_retry_interval": "1ms"}})
	s.Exec(t, "ALTER SYSTEM SET primary_slot_name = 'nobodys'")
	s.Exec(t, "SELECT pg_reload_conf()") // its receiver ends, and the next one asks for the slot
	db := database(t, s, pgtest.Superuser)
	pgtest.Eventually(t, "the receiver is refused", func() bool {
		at, err := db.Receiver(t.Context())
		return err == nil && !at.Streaming
	})
	believed := 0
	for range 1000 {
		at, err := db.Receiver(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if at.Streaming {
			believed++
		}
	}
	if believed > 0 {
		t.Errorf("a receiver that is refused was taken for one that streams %d times", believed)
	}
}

func TestReceiverOnAPrimary(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	db := database(t, p, pgtest.Superuser)
	got, err := db.Receiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(messages.Receiver{Timeline: 1}, got); diff != "" {
		t.Errorf("receiver (-want +got):\n%s", diff)
	}
	settings, err := db.StandbySettings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"max_connections": 20, "max_wal_senders": 8}
	for name, value := range want {
		if settings[name] != value {
			t.Errorf("%s: got %d, want %d", name, settings[name], value)
		}
	}
	if len(settings) != 5 {
		t.Errorf("settings: got %v, want five", settings)
	}
}

func TestErrorsNeverShowThePassword(t *testing.T) {
	const secret = "S3cr/et?p@ss"
	for _, conninfo := range []string{
		"host=/nonexistent user=u password='" + secret + "' dbname=d",
		"host=127.0.0.1 port=1 user=u password='" + secret + "'",
		"postgres://u:" + secret + "@127.0.0.1:1/d",
		"postgres://u:" + secret + "@host:notaport/d",
		"host=x password='" + secret,
		"host=x port=many password='" + secret + "'",
		"password=" + secret + " hu hu",
	} {
		db, err := pgops.NewDatabase(conninfo)
		if err == nil {
			_, err = db.Identity(t.Context())
		}
		if err == nil {
			t.Errorf("%s: got no error", conninfo)
			continue
		}
		for _, piece := range []string{"S3cr", "p@ss", "et?"} {
			if strings.Contains(err.Error(), piece) {
				t.Errorf("%s: the error shows a piece of the password: %v", conninfo, err)
			}
		}
	}
}
