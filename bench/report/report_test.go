package report

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() *Report {
	run := func(seconds, cpu float64) Run {
		return Run{Seconds: seconds, Processes: []Process{{"reader", cpu, 100}, {"reader", cpu, 90}, {"server", 1, 200}}}
	}
	return &Report{Title: "t", Rows: []*Row{
		{Group: "a", Name: "one", Bytes: 100 << 20, Runs: []Run{run(2, 1), run(1, 3), run(4, 2), {Error: "cut"}}},
		{Group: "a", Name: "two", Bytes: 100 << 20, Runs: []Run{{Error: "no server"}}},
	}}
}

func TestAMedianIsOfTheRepetitionsThatSucceeded(t *testing.T) {
	r := sample().Find("a", "one")
	if diff := cmp.Diff(Spread{Median: 2, Min: 1, Max: 4}, r.Seconds()); diff != "" {
		t.Error("seconds, want -, got +:\n" + diff)
	}
	if diff := cmp.Diff(Spread{Median: 50, Min: 25, Max: 100}, r.Rate()); diff != "" {
		t.Error("MiB/s, want -, got +:\n" + diff)
	}
	if diff := cmp.Diff(Spread{Median: 5, Min: 3, Max: 7}, r.CPU()); diff != "" {
		t.Error("CPU, want -, got +:\n" + diff)
	}
	cpu, rss := r.Process("reader")
	if cpu.Median != 4 || rss.Max != 100 {
		t.Errorf("readers: got %v CPU seconds and %v MiB, want their sum, 4, and the greatest peak, 100", cpu.Median, rss.Max)
	}
	even := &Row{Runs: []Run{{Seconds: 1}, {Seconds: 2}}}
	if got := even.Seconds().Median; got != 1.5 {
		t.Errorf("median of 1 and 2: got %v, want 1.5", got)
	}
}

func TestResultsAreReadAsTheyWereSaved(t *testing.T) {
	path, want := filepath.Join(t.TempDir(), "r.json"), sample()
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("want -, got +:\n" + diff)
	}
}

func TestATableTellsOfFailures(t *testing.T) {
	var out strings.Builder
	if err := sample().Table(&out, "a", "one"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.00 [1.00-4.00]", "reader 4.00 100", "FAILED: cut", "failed", "FAILED: no server", "of one"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
