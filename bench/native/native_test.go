package main

import (
	"io"
	"os"
	"regexp"
	"testing"
)

// TestMain is also what runs in the processes under measurement.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestCasesThatNeedNoBinariesWork: the others need nats-server and nats.
func TestCasesThatNeedNoBinariesWork(t *testing.T) {
	b := &bench{options: options{size: 3 * mib, sweep: 3 * mib, repeat: 1}, dir: t.TempDir(), log: io.Discard}
	rep, err := b.run(t.Context(), regexp.MustCompile(`^comparison: (source|sink|cat|TCP|pgresync, embedded)`))
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Rows) != 6 {
		t.Errorf("cases: got %d, want 6", len(rep.Rows))
	}
	for _, row := range rep.Rows {
		for _, run := range row.Runs {
			if run.Error != "" || run.Seconds <= 0 || len(run.Processes) == 0 {
				t.Errorf("%s: %.3f s, %d processes, %s", row.Name, run.Seconds, len(run.Processes), run.Error)
			}
			for _, p := range run.Processes {
				if p.RSS <= 0 {
					t.Errorf("%s: %s has no peak memory", row.Name, p.Name)
				}
			}
		}
	}
}

func TestEveryCaseHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range (&bench{}).cases() {
		name := c.row.Group + ": " + c.row.Name
		if seen[name] {
			t.Errorf("two cases are called %s", name)
		}
		seen[name] = true
	}
}
