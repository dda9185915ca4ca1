package resync_test

import (
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

func TestTheSameFailureAgainAndAgainIsALoop(t *testing.T) {
	type failure struct {
		in      messages.Phase
		passing bool
	}
	start, prove, away := failure{in: messages.PhaseStarting}, failure{in: messages.PhaseProving}, failure{messages.PhasePlanning, true}
	for _, tt := range []struct {
		name     string
		failures []failure
		most     int
		want     bool
	}{
		{"three times of three", []failure{start, start, start}, 3, true},
		{"two times of three", []failure{start, start}, 3, false},
		{"another phase begins a new row", []failure{start, start, prove}, 3, false},
		{"a publisher that is away never counts", []failure{away, away, away, away}, 3, false},
		{"nor does it break the row", []failure{start, start, away, start}, 3, true},
		{"no limit", []failure{start, start, start}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, loop := resync.NewJournal(), false
			for _, f := range tt.failures {
				j.Phase = f.in
				loop = j.Failed(f.passing, tt.most)
			}
			if loop != tt.want {
				t.Errorf("got %v after %d repeats in %s, want %v", loop, j.Repeats, j.FailedIn, tt.want)
			}
			if j.Attempts != len(tt.failures) {
				t.Errorf("attempts: got %d, want %d: the pause grows with every failure", j.Attempts, len(tt.failures))
			}
		})
	}
}

func TestPaceIsAsConfigured(t *testing.T) {
	p := resync.Pace{Min: 10 * time.Second, Max: 30 * time.Minute}
	for attempts, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 100: 30 * time.Minute} {
		if got := p.BackOff(attempts, 0.5); got != want {
			t.Errorf("after %d failures: got %v, want %v", attempts, got, want)
		}
	}
	if got := (resync.Pace{Min: time.Hour, Max: time.Minute}).BackOff(1, 0.5); got != 5*time.Second {
		t.Errorf("a pace that cannot be: got %v, want the default's", got)
	}
}
