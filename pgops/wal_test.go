package pgops_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
)

const mib = 1 << 20

func TestWALMovesOnWhenItIsRecycled(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_wal_size": "2MB", "wal_keep_size": "0"}})
	db := database(t, c, pgtest.Superuser)
	first, err := db.WAL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.SegmentSize != mib || first.Oldest == 0 || first.Oldest > identity(t, c).LSN {
		t.Errorf("new cluster: got %+v, want WAL in segments of 1 MiB that leads up to now", first)
	}
	for range 8 {
		c.Exec(t, "SELECT pg_switch_wal() FROM txid_current()", "CHECKPOINT")
	}
	later, err := db.WAL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := identity(t, c)
	if later.Oldest <= first.Oldest || later.Oldest > id.LSN || id.LSN-later.Oldest > 4*mib {
		t.Errorf("after recycling: got %s, want the few segments before %s", later.Oldest, id.LSN)
	}
	// A slot stops the recycling, and is what Oldest must not lie above.
	slot, err := db.ReserveSlot(t.Context(), "pgresync_a")
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		c.Exec(t, "SELECT pg_switch_wal() FROM txid_current()", "CHECKPOINT")
	}
	if kept, err := db.WAL(t.Context()); err != nil || kept.Oldest > slot.RestartLSN {
		t.Errorf("with a slot at %s: got %+v, %v; want it kept", slot.RestartLSN, kept, err)
	}
}

func TestWALCrossesAPromotion(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	s := p.Standby(t, pgtest.Options{Settings: map[string]string{"wal_keep_size": "64MB"}})
	p.Exec(t, "SELECT pg_switch_wal() FROM txid_current()", "SELECT pg_switch_wal() FROM txid_current()")
	p.AwaitReplay(t, s)
	before, err := database(t, s, pgtest.Superuser).WAL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Promote(t)
	s.Exec(t, "SELECT pg_switch_wal() FROM txid_current()")
	after, err := database(t, s, pgtest.Superuser).WAL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after != before || before.Oldest == 0 {
		t.Errorf("got %+v before and %+v after the promotion, want the same: the old timeline's segments lead up to it", before, after)
	}
}

func TestPathsFollowLinks(t *testing.T) {
	elsewhere := pgtest.TempDir(t)
	c := pgtest.New(t, pgtest.Options{InitDB: []string{"--waldir", filepath.Join(elsewhere, "wal")}})
	target := pgtest.MkdirAll(t, filepath.Join(elsewhere, "real ts"))
	alias := filepath.Join(elsewhere, "alias")
	if err := os.Symlink(target, alias); err != nil {
		t.Fatal(err)
	}
	c.Exec(t, "CREATE TABLESPACE ts LOCATION '"+alias+"'")
	got, err := database(t, c, pgtest.Superuser).Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.DataDir != c.DataDir || got.WALDir != filepath.Join(elsewhere, "wal") || !got.WALLink {
		t.Errorf("got %+v, want %s with a linked pg_wal", got, c.DataDir)
	}
	if len(got.Tablespaces) != 1 {
		t.Errorf("tablespaces: got %v, want one", got.Tablespaces)
	}
	for _, path := range got.Tablespaces {
		if path != target {
			t.Errorf("tablespace: got %s, want %s with the link resolved", path, target)
		}
	}
}

func TestPathsWithoutLinks(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	if v := identity(t, c).Version; v.Major() >= 15 {
		c.Exec(t, "SET allow_in_place_tablespaces = on", "CREATE TABLESPACE inplace LOCATION ''")
	}
	got, err := database(t, c, pgtest.Superuser).Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := messages.Paths{DataDir: c.DataDir, WALDir: filepath.Join(c.DataDir, "pg_wal")}
	if got.DataDir != want.DataDir || got.WALDir != want.WALDir || got.WALLink || len(got.Tablespaces) > 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
