package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Exec runs statements as superuser, each on its own.
func (c *Cluster) Exec(tb testing.TB, statements ...string) {
	tb.Helper()
	conn := c.connect(tb)
	defer closeConn(conn)
	for _, s := range statements {
		if _, err := conn.Exec(tb.Context(), s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
}

// Text runs a query as superuser and returns its one value as text, "" for NULL.
func (c *Cluster) Text(tb testing.TB, query string) string {
	tb.Helper()
	conn := c.connect(tb)
	defer closeConn(conn)
	var out *string
	if err := conn.QueryRow(tb.Context(), "SELECT ("+query+")::text").Scan(&out); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	if out == nil {
		return ""
	}
	return *out
}

func (c *Cluster) connect(tb testing.TB) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), c.Conninfo(Superuser))
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the socket is closed whatever is returned
}

// AwaitReplay waits until the standby s has replayed all that c has written.
func (c *Cluster) AwaitReplay(tb testing.TB, s *Cluster) {
	tb.Helper()
	lsn := c.Text(tb, "SELECT pg_current_wal_lsn()")
	Eventually(tb, "the standby replays "+lsn, func() bool {
		return s.Text(tb, "SELECT coalesce(pg_last_wal_replay_lsn() >= '"+lsn+"', false)") == "true"
	})
}

// Eventually polls a condition until it holds; after a minute the test fails.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("waited a minute in vain: %s", what)
		case <-tb.Context().Done():
			tb.Fatalf("the test ended before: %s", what)
		}
	}
}
