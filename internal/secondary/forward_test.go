package secondary

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestReplayIsMeasuredOverMinutes(t *testing.T) {
	var samples []replayed
	var rate uint64
	begin := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	feed := func(from, to time.Duration, lsn func(s int) messages.LSN) {
		for at := from; at < to; at += 5 * time.Second {
			samples, rate = measure(samples, replayed{begin.Add(at), lsn(int(at.Seconds()))})
		}
	}
	feed(0, 2*time.Minute, func(s int) messages.LSN { return messages.LSN(1000 * s) })
	if rate != 0 {
		t.Errorf("after two minutes: got %d, want to wait for more", rate)
	}
	feed(2*time.Minute, 10*time.Minute, func(s int) messages.LSN { return messages.LSN(1000 * s) })
	if rate != 1000 || len(samples) > 63 {
		t.Errorf("got %d bytes/s from %d samples, want 1000 from those of five minutes", rate, len(samples))
	}
	feed(10*time.Minute, 16*time.Minute, func(int) messages.LSN { return 600_000 })
	if rate != 0 {
		t.Errorf("held up by a query: got %d bytes/s, want 0", rate)
	}
	samples, rate = measure(samples, replayed{begin.Add(17 * time.Minute), 5})
	if rate != 0 || len(samples) != 1 {
		t.Errorf("another copy: got %d bytes/s from %d samples", rate, len(samples))
	}
}

// A standby that streams and cannot keep up gets a copy that is where the primary
// is, when its operator wishes it, and only then.
func TestAStandbyThatCannotKeepUpIsReplaced(t *testing.T) {
	if theSeeded == nil {
		seedOnce(t)
	}
	for name, tt := range map[string]struct {
		wished, replaced bool
		budget           int
	}{
		"wished":                      {true, true, 2},
		"not wished":                  {false, false, 2},
		"wished, the budget is spent": {true, false, 1}, // by the seed
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := theSeeded.clone()
				must(t, wait(t.Context(), time.Hour))
				pg := w.serving()
				pg.crawls, pg.crawlsFrom = 1<<20, time.Now()
				w.increment, w.cfg.BudgetPerDay, w.cfg.CheckInterval = 1<<30, tt.budget, 15*time.Second
				w.cfg.Diagnosis.Forward = plan.ForwardPolicy{Enabled: tt.wished, Least: 10 * time.Minute, Rate: 50 << 20}
				w.pub.write(1024)
				until := time.Now().Add(30 * time.Minute)
				w.run(t, false, func() bool { return time.Now().After(until) })
				if replaced := w.serving() != pg; replaced != tt.replaced || len(w.broken) > 0 || !w.happy(t) {
					t.Errorf("replaced %v, want %v; %v\n%s", replaced, tt.replaced, w.broken, w.describe())
				}
			})
		})
	}
}
