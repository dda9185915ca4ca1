package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/bench/report"
)

func TestDrawingsAreWellFormed(t *testing.T) {
	runs := []report.Run{{Seconds: 1, Processes: []report.Process{{Name: "a<b", CPU: 1, RSS: 2}}, Values: map[string]float64{"bytes": 1e6, "WAL": 3e6, "pg_wal MiB": 64}}}
	params := map[string]float64{"readers": 2, "part MiB": 4, "database MiB": 64}
	rep := &report.Report{}
	for _, group := range []string{"comparison", "consumer", "part", "readers", "seed", "increment", "down", "wal"} {
		rep.Rows = append(rep.Rows, &report.Row{Group: group, Name: "x & y", Bytes: 1 << 20, Params: params, Runs: runs})
	}
	in, out := filepath.Join(t.TempDir(), "r.json"), t.TempDir()
	if err := rep.Save(in); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"--out", out, in}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 10 {
		t.Errorf("drawings: got %d, want 10: %v", len(files), files)
	}
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(out, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(strings.NewReader(string(body))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", f.Name(), err)
			}
		}
		if strings.Contains(string(body), "NaN") || strings.Contains(string(body), "Inf") {
			t.Errorf("%s has numbers that are none", f.Name())
		}
	}
}
