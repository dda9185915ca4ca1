package plan_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
)

// All standbys refresh their lineages at the same moments, and none does so often.
func TestNextTrack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(int64(time.Minute), int64(24*time.Hour)).Draw(t, "interval"))
		from := now.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "now")))
		next := plan.NextTrack(from, interval)
		if wait := next.Sub(from); wait < interval/4 || wait > interval+interval/4 {
			t.Fatalf("waits %s of %s", wait, interval)
		}
		if !next.Equal(next.Truncate(interval)) {
			t.Fatalf("%s is no multiple of %s", next, interval)
		}
		if after := plan.NextTrack(next, interval); after.Sub(next) != interval {
			t.Fatalf("the next but one comes %s later, want %s", after.Sub(next), interval)
		}
	})
}

func TestMayTrack(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name            string
		used, available uint64
		want            bool
	}{
		{"half empty", 50 * gib, 50 * gib, true},
		{"a fifth is left", 80 * gib, 20 * gib, true},
		{"less than a fifth is left", 81 * gib, 19 * gib, false},
		{"full", 100 * gib, 0, false},
		{"no numbers", 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := plan.MayTrack(tt.used, tt.available); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
