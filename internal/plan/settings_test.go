package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/plan"
)

func TestParametersThatAreTooLow(t *testing.T) {
	need := map[string]int{"max_connections": 100, "max_wal_senders": 10}
	for name, tt := range map[string]struct{ have, want map[string]int }{
		"equal":   {need, map[string]int{}},
		"higher":  {map[string]int{"max_connections": 200, "max_wal_senders": 20}, map[string]int{}},
		"one low": {map[string]int{"max_connections": 99, "max_wal_senders": 20}, map[string]int{"max_connections": 100}},
		"unknown": {map[string]int{"max_wal_senders": 1}, map[string]int{"max_wal_senders": 10}},
	} {
		if diff := cmp.Diff(tt.want, plan.TooLow(tt.have, need)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	got := plan.Shortfall(map[string]int{"max_connections": 9, "max_wal_senders": 1}, need)
	if want := "max_connections is 9, the primary has 100; max_wal_senders is 1, the primary has 10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
