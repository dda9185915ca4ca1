package pgops_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// compare has the primary p judge what the standby s claims of its log.
func compare(t *testing.T, p, s *pgtest.Cluster) (claims []messages.WALClaim, answers []messages.WALAnswer) {
	t.Helper()
	claims, err := database(t, s, pgtest.Superuser).WALClaims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answers, err = database(t, p, pgtest.Superuser).AttestWAL(t.Context(), claims)
	if err != nil {
		t.Fatal(err)
	}
	return claims, answers
}

// differing are the kinds of claims that the primary refutes.
func differing(t *testing.T, p, s *pgtest.Cluster) map[messages.WALClaimKind]string {
	t.Helper()
	claims, answers := compare(t, p, s)
	out := map[messages.WALClaimKind]string{}
	for i, a := range answers {
		t.Logf("%+v: %+v", claims[i], a)
		if a.Verdict == messages.WALDiffers {
			out[claims[i].Kind] = a.Why
		}
	}
	return out
}

// write makes some log, with commits and full pages.
func write(t *testing.T, c *pgtest.Cluster, table, rows string) {
	t.Helper()
	c.Exec(t, "CREATE TABLE "+table+" AS SELECT g, md5(g::text) FROM generate_series(1, "+rows+") g", "CHECKPOINT")
}

func TestWALOfAHealthyStandbyIsItsPrimarys(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{Settings: map[string]string{"wal_keep_size": "64MB"}})
	s := p.Standby(t, pgtest.Options{})
	check := func(what string, stretches int) {
		t.Helper()
		p.AwaitReplay(t, s)
		claims, answers := compare(t, p, s)
		if len(claims) < 2+stretches {
			t.Errorf("%s: %d claims, want checkpoint, boundary and %d stretches of bytes: %+v", what, len(claims), stretches, claims)
		}
		for i, a := range answers {
			// Nothing may follow the last record yet.
			if a.Verdict != messages.WALAgrees && (claims[i].Kind != messages.WALBoundary || a.Verdict != messages.WALUnknown) {
				t.Errorf("%s: %+v: got %+v", what, claims[i], a)
			}
		}
	}
	write(t, p, "a", "20000")
	check("streaming", 2)
	s.Exec(t, "CHECKPOINT")
	check("after a restart point", 2)
	p.Exec(t, "SELECT pg_switch_wal()")
	check("at the start of a segment", 1)
	// Records of all sizes, so that they end at all places of a page.
	for range 6 {
		p.Exec(t, "SELECT pg_logical_emit_message(false, 'x', repeat('y', (random() * 9000)::int))")
		p.AwaitReplay(t, s)
		p.Exec(t, "SELECT pg_logical_emit_message(true, 'x', 'follows')")
		if d := differing(t, p, s); len(d) > 0 {
			t.Fatalf("differs: %v", d)
		}
	}
	s.Stop(t, "immediate")
	write(t, p, "b", "1000")
	s.Start(t)
	check("after a crash", 2)
	// Its primary goes on while it is cut off.
	s.Exec(t, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'", "SELECT pg_reload_conf()")
	write(t, p, "c", "50000")
	_, answers := compare(t, p, s)
	for i, a := range answers {
		if a.Verdict != messages.WALAgrees {
			t.Errorf("cut off, answer %d: %+v", i, a)
		}
	}
	s.Promote(t)
	if _, err := database(t, s, pgtest.Superuser).WALClaims(t.Context()); err == nil {
		t.Error("a primary makes claims")
	}
}

// PG-10: a copy that was started without standby.signal by accident, and written
// to, streams from the primary again as if nothing had been.
func TestWALOfAnAccidentalPrimaryIsAnother(t *testing.T) {
	for name, rows := range map[string]string{"few rows, in one segment": "10", "many rows": "20000"} {
		t.Run(name, func(t *testing.T) {
			p := pgtest.New(t, pgtest.Options{Settings: map[string]string{"wal_keep_size": "64MB"}})
			s := p.Standby(t, pgtest.Options{})
			write(t, p, "before", "100")
			p.AwaitReplay(t, s)
			s.Stop(t, "fast")
			signal := filepath.Join(s.DataDir, "standby.signal")
			if err := os.Remove(signal); err != nil {
				t.Fatal(err)
			}
			s.Start(t)
			write(t, s, "accident", rows)
			s.Stop(t, "fast")
			s.Write(t, "standby.signal", "")
			write(t, p, "after", "40000") // the primary is ahead: positions tell nothing
			stopped, err := pgops.NewServer(pgops.ServerOptions{BinDir: s.BinDir, DataDir: s.DataDir, LogFile: s.LogFile, User: pgtest.User(t)})
			if err != nil {
				t.Fatal(err)
			}
			control, err := stopped.ControlData(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			answers, err := database(t, p, pgtest.Superuser).AttestWAL(t.Context(), []messages.WALClaim{{
				Kind: messages.WALCheckpoint, Timeline: control.Timeline, At: control.CheckpointLSN, Redo: control.RedoLSN, Time: control.CheckpointTime.Unix(),
			}})
			if err != nil || answers[0].Verdict != messages.WALDiffers {
				t.Errorf("stopped: got %+v, %v, want it to differ", answers, err)
			}
			s.Start(t)
			if id, primary := identity(t, s), identity(t, p); id.LSN >= primary.LSN || id.Timeline.Current != primary.Timeline.Current {
				t.Fatalf("the standby is at %s on timeline %s, the primary at %s: this is not PG-10", id.LSN, id.Timeline.Current, primary.LSN)
			}
			if d := differing(t, p, s); d[messages.WALCheckpoint] == "" {
				t.Errorf("running: only %v differ, want the checkpoint, too", d)
			}
			pgtest.Eventually(t, "the receiver asked for the segment", func() bool {
				return s.Text(t, "SELECT pg_last_wal_receive_lsn()") != ""
			})
			if d := differing(t, p, s); d[messages.WALCheckpoint] == "" {
				t.Errorf("once it asked for the segment: only %v differ, want the checkpoint", d)
			}
		})
	}
}

// A primary that comes back without what it had sent (no fsync, a restored disk) and
// writes on is another than the one that the standby followed.
func TestWALThatThePrimaryLost(t *testing.T) {
	for name, rows := range map[string]string{"in one segment": "10", "in several": "20000"} {
		t.Run(name, func(t *testing.T) {
			p := pgtest.New(t, pgtest.Options{Settings: map[string]string{"wal_keep_size": "64MB"}})
			s := p.Standby(t, pgtest.Options{})
			write(t, p, "before", "100")
			p.AwaitReplay(t, s)
			p.Stop(t, "immediate")
			pgtest.CopyDir(t.Context(), t, p.DataDir, p.DataDir+".then")
			p.Start(t)
			p.Exec(t, "CREATE TABLE lost AS SELECT g, md5(g::text) FROM generate_series(1, "+rows+") g")
			p.AwaitReplay(t, s)
			p.Stop(t, "immediate")
			if err := os.Rename(p.DataDir, p.DataDir+".gone"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(p.DataDir+".then", p.DataDir); err != nil {
				t.Fatal(err)
			}
			p.Start(t)
			write(t, p, "other", "40000")
			if id, primary := identity(t, s), identity(t, p); id.LSN >= primary.LSN {
				t.Fatalf("the standby is at %s, the primary at %s", id.LSN, primary.LSN)
			}
			pgtest.Eventually(t, "the receiver asked for the segment", func() bool {
				return s.Text(t, "SELECT pg_last_wal_receive_lsn()") != ""
			})
			if d := differing(t, p, s); len(d) == 0 {
				t.Error("nothing differs")
			}
		})
	}
}

// A slot can be reserved from where a copy was made, as long as the log is there.
func TestSlotFromAnEarlierPosition(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_wal_size": "2MB", "wal_keep_size": "8MB"}})
	db := database(t, p, pgtest.Superuser)
	turn := func(n int) {
		for range n {
			p.Exec(t, "SELECT pg_switch_wal() FROM txid_current()", "CHECKPOINT")
		}
	}
	turn(4)
	at := identity(t, p)
	turn(4)
	slot, err := db.ReserveSlotAt(t.Context(), "pgresync_copy", 1, at.LSN)
	if err != nil || slot.RestartLSN != at.LSN {
		t.Fatalf("got %+v, %v, want it at %s", slot, err, at.LSN)
	}
	turn(16)
	kept, err := db.WAL(t.Context())
	slots, slotErr := db.Slots(t.Context())
	if err != nil || slotErr != nil || kept.Oldest > at.LSN.SegmentStart(kept.SegmentSize) || len(slots) != 1 || !slots[0].Keeps(at.LSN, kept.SegmentSize) {
		t.Errorf("after 16 segments: log from %s, slots %+v (%v, %v), want all kept from %s", kept.Oldest, slots, err, slotErr, at.LSN)
	}
	if err := db.DropSlot(t.Context(), "pgresync_copy"); err != nil {
		t.Fatal(err)
	}
	turn(4)
	if slot, err := db.ReserveSlotAt(t.Context(), "pgresync_copy", 1, at.LSN); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("after the log has gone: got %+v, %v, want ErrNotFound", slot, err)
	}
	if slots, err := db.Slots(t.Context()); err != nil || len(slots) != 0 {
		t.Errorf("a slot that keeps nothing is left: %+v, %v", slots, err)
	}
}
