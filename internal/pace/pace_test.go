package pace_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/pace"
)

var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

const mib = 1 << 20

func TestSteadyRateIsMeasuredFromTheFirstSecondOn(t *testing.T) {
	var m pace.Meter
	m.Observe(start, 5*mib)
	for i := range 100 {
		m.Observe(start.Add(time.Duration(i+1)*time.Second), uint64(5+10*(i+1))*mib)
		if got := m.Rate(); got < 10*mib-1 || got > 10*mib {
			t.Fatalf("after %d s the rate is %d, want 10 MiB/s", i+1, got)
		}
	}
	if got := m.Left(1105 * mib); got.Round(time.Second) != 10*time.Second {
		t.Errorf("100 MiB at 10 MiB/s take %s", got)
	}
}

func TestStandstillShows(t *testing.T) {
	var m pace.Meter
	m.Observe(start, 0)
	m.Observe(start.Add(time.Second), 100*mib)
	for i := range 120 {
		m.Observe(start.Add(time.Duration(i+2)*time.Second), 100*mib)
	}
	if got := m.Rate(); got > mib {
		t.Errorf("two minutes after the last byte the rate is %d", got)
	}
}

func TestWhatCannotBeToldIsZero(t *testing.T) {
	var m pace.Meter
	if m.Rate() != 0 || m.Left(100) != 0 {
		t.Error("a meter that saw nothing tells something")
	}
	m.Observe(start, 10)
	m.Observe(start.Add(time.Second), 20*mib)
	for _, estimate := range []uint64{0, 20 * mib, 1} {
		if got := m.Left(estimate); got != 0 {
			t.Errorf("of an estimate of %d %s are left", estimate, got)
		}
	}
	m.Observe(start.Add(time.Hour), 0)
	if got := m.Rate(); got != 0 {
		t.Errorf("a new transfer begins with rate %d", got)
	}
}

func TestRateLiesBetweenTheSlowestAndTheFastest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var m pace.Meter
		now, total := start, uint64(0)
		m.Observe(now, total)
		low, high := ^uint64(0), uint64(0)
		for range rapid.IntRange(1, 50).Draw(rt, "steps") {
			seconds := rapid.IntRange(1, 30).Draw(rt, "seconds")
			rate := uint64(rapid.IntRange(0, 1<<30).Draw(rt, "rate"))
			low, high = min(low, rate), max(high, rate)
			now, total = now.Add(time.Duration(seconds)*time.Second), total+rate*uint64(seconds)
			m.Observe(now, total)
			if got := m.Rate(); got+1 < low || got > high+1 {
				rt.Fatalf("rate is %d, all were between %d and %d", got, low, high)
			}
		}
	})
}
