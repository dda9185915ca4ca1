package pgtest_test

import (
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
)

func TestStandbyFollowsItsPrimary(t *testing.T) {
	primary := pgtest.New(t, pgtest.Options{Settings: map[string]string{"cluster_name": "first"}})
	if got := primary.Text(t, "SELECT current_setting('cluster_name')"); got != "first" {
		t.Errorf("cluster_name: got %q, want the option's value", got)
	}
	standby := primary.Standby(t, pgtest.Options{})
	primary.Exec(t, "CREATE TABLE t AS SELECT 42 AS v")
	primary.AwaitReplay(t, standby)
	if got := standby.Text(t, "SELECT v FROM t"); got != "42" {
		t.Errorf("on the standby: got %q, want 42", got)
	}
	standby.Promote(t)
	if got := standby.Text(t, "SELECT pg_is_in_recovery()"); got != "false" {
		t.Errorf("in recovery after the promotion: got %q, want false", got)
	}
	standby.Stop(t, "fast")
	standby.Start(t)
}
