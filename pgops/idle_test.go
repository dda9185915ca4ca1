package pgops_test

import (
	"context"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
)

// What is kept between calls must not outlive what it is about.
func TestKeptConnectionSurvivesRestartAndPromotion(t *testing.T) {
	p := pgtest.New(t, pgtest.Options{})
	db := database(t, p, pgtest.Superuser)
	ask := func() messages.Identity {
		t.Helper()
		id, err := db.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := ask()
	p.Exec(t, "CREATE TABLE t AS SELECT generate_series(1, 1000)")
	if second := ask(); second.LSN <= first.LSN || second.SystemID != first.SystemID {
		t.Errorf("asked again: got %+v, want a newer position than %s", second, first.LSN)
	}
	if got := sessions(t, p); got != "1" {
		t.Errorf("sessions between calls: got %s, want the kept one", got)
	}
	// The same server comes back as a standby and is promoted: everything that was
	// known of it is wrong now.
	p.Stop(t, "fast")
	p.Write(t, "standby.signal", "")
	p.Start(t)
	if got := ask(); got.Role != messages.RoleStandby || got.Timeline.Current != 1 {
		t.Errorf("after a restart in recovery: got %+v, want a standby on timeline 1", got)
	}
	p.Promote(t)
	if got := ask(); got.Role != messages.RolePrimary || got.Timeline.Current != 2 || len(got.Timeline.Ancestors) != 1 {
		t.Errorf("promoted: got %+v, want a primary on timeline 2 with its history", got)
	}
	db.Close(context.WithoutCancel(t.Context()))
	pgtest.Eventually(t, "the kept session ends", func() bool { return sessions(t, p) == "0" })
}
