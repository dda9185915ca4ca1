package pgops_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// sessions counts the connections of ours that are left.
func sessions(t *testing.T, c *pgtest.Cluster) string {
	t.Helper()
	return c.Text(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgresync'")
}

// ended fails unless the session that held backup mode is gone, which ends it, and
// the next bracket works.
func ended(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	pgtest.Eventually(t, "our session ends", func() bool { return sessions(t, c) == "0" })
	if _, err := database(t, c, pgtest.Superuser).Backup(t.Context(), "after", nop); err != nil {
		t.Errorf("another backup: %v", err)
	}
}

func nop(context.Context) error { return nil }

// The archiver is broken for all of these, which may not matter.
func TestBackup(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{
		"archive_mode": "on", "archive_command": "false",
	}})
	for name, test := range map[string]func(*testing.T, *pgtest.Cluster){
		"returns label and positions":               backupReturnsLabelAndPositions,
		"maps tablespaces":                          backupMapsTablespaces,
		"ends when the work fails":                  backupEndsWhenTheWorkFails,
		"ends when the caller leaves":               backupEndsWhenTheCallerLeaves,
		"ends with its window":                      backupEndsWithItsWindow,
		"yields nothing when its session is killed": backupYieldsNothingWhenItsSessionIsKilled,
		"outlasts the limits of ordinary sessions":  backupOutlastsShortSessionLimits,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

func backupReturnsLabelAndPositions(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	inside := ""
	b, err := database(t, c, pgtest.Superuser).Backup(t.Context(), "pgresync it's 1", func(context.Context) error {
		inside = sessions(t, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if inside != "1" {
		t.Errorf("sessions inside the bracket: got %s, want the one that holds it", inside)
	}
	label, err := pgops.ParseBackupLabel(b.Label)
	if err != nil {
		t.Fatal(err)
	}
	if label.StartLSN != b.StartLSN || label.Timeline != 1 || label.Label != "pgresync it's 1" || label.Method != "streamed" {
		t.Errorf("label: got %+v, want start %s on timeline 1", label, b.StartLSN)
	}
	if b.StartLSN == 0 || b.StopLSN <= b.StartLSN {
		t.Errorf("positions: got %s to %s, want them to increase", b.StartLSN, b.StopLSN)
	}
	ended(t, c)
}

func backupMapsTablespaces(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	dir := pgtest.MkdirAll(t, filepath.Join(c.Dir, "über all"))
	db := database(t, c, pgtest.Superuser)
	b, err := db.Backup(t.Context(), "x", nop)
	if err != nil || b.TablespaceMap != nil {
		t.Errorf("without tablespaces: got map %q, %v; want nil", b.TablespaceMap, err)
	}
	c.Exec(t, "CREATE TABLESPACE ts LOCATION '"+dir+"'")
	defer c.Exec(t, "DROP TABLESPACE ts")
	if b, err = db.Backup(t.Context(), "x", nop); err != nil {
		t.Fatal(err)
	}
	got, err := pgops.ParseTablespaceMap(b.TablespaceMap)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Path != dir {
		t.Errorf("map: got %+v, want one tablespace at %s", got, dir)
	}
}

func backupEndsWhenTheWorkFails(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	broken := errors.New("no snapshot")
	b, err := database(t, c, pgtest.Superuser).Backup(t.Context(), "x", func(context.Context) error { return broken })
	if !errors.Is(err, broken) || b.Label != nil {
		t.Errorf("got %+v, %v; want nothing, and the work's error", b, err)
	}
	ended(t, c)
}

func backupEndsWhenTheCallerLeaves(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b, err := database(t, c, pgtest.Superuser).Backup(ctx, "x", func(context.Context) error {
		cancel()
		return nil // a snapshot that did not notice
	})
	if !errors.Is(err, context.Canceled) || b.Label != nil {
		t.Errorf("got %+v, %v; want nothing, and context.Canceled", b, err)
	}
	ended(t, c)
}

func backupEndsWithItsWindow(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	db := database(t, c, pgtest.Superuser, pgops.WithBackupTimeout(time.Second))
	_, err := db.Backup(t.Context(), "x", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	ended(t, c)
}

func backupYieldsNothingWhenItsSessionIsKilled(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	b, err := database(t, c, pgtest.Superuser).Backup(t.Context(), "x", func(context.Context) error {
		c.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgresync'")
		return nil
	})
	if !errors.Is(err, messages.ErrUnavailable) || b.Label != nil {
		t.Errorf("got %+v, %v; want nothing, and ErrUnavailable", b, err)
	}
	ended(t, c)
}

func backupOutlastsShortSessionLimits(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	c.Exec(t, "CREATE ROLE hasty SUPERUSER LOGIN", "ALTER ROLE hasty SET statement_timeout = '2s'")
	if c.Text(t, "SELECT current_setting('server_version_num')::int >= 140000") == "true" {
		c.Exec(t, "ALTER ROLE hasty SET idle_session_timeout = '2s'")
	}
	_, err := database(t, c, "hasty").Backup(t.Context(), "x", func(context.Context) error {
		pgtest.Eventually(t, "an ordinary session of that role would have ended", func() bool {
			return c.Text(t, "SELECT now() - state_change > '3s' FROM pg_stat_activity WHERE usename = 'hasty'") != "false"
		})
		return nil
	})
	if err != nil {
		t.Errorf("got %v, want a closed bracket", err)
	}
}

func TestBackupIsRefusedOnAStandby(t *testing.T) {
	s := pgtest.New(t, pgtest.Options{}).Standby(t, pgtest.Options{})
	called := false
	_, err := database(t, s, pgtest.Superuser).Backup(t.Context(), "x", func(context.Context) error { called = true; return nil })
	if !errors.Is(err, messages.ErrNotPrimary) || called {
		t.Errorf("got %v (work done: %v), want ErrNotPrimary and no work", err, called)
	}
}

func TestBackupLabelTextIsChecked(t *testing.T) {
	db, err := pgops.NewDatabase("host=" + filepath.Join(os.TempDir(), "nowhere"))
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"", "two\nlines", "tab\t", "ü", string(make([]byte, 300))} {
		if _, err := db.Backup(t.Context(), label, nop); err == nil || errors.Is(err, messages.ErrUnavailable) {
			t.Errorf("label %q: got %v, want a refusal before connecting", label, err)
		}
	}
}
