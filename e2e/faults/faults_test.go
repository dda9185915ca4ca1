package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
)

// TestFaults runs every case in one world. make test-faults FAULT=… SEED=… runs
// some; those that take ten minutes only run when FAULT names them.
func TestFaults(t *testing.T) {
	bin, out := os.Getenv("LAB_IN"), os.Getenv("LAB_OUT")
	if bin == "" || out == "" {
		t.Skip("no lab; run it with make test-faults")
	}
	seed, err := strconv.ParseUint(os.Getenv("PGRESYNC_TEST_SEED"), 10, 64)
	if err != nil {
		seed = 1
	}
	r, err := NewRig(t.Context(), RigOptions{Bin: bin, Out: out, Say: t.Logf, Tail: Tail(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	results := &results{out: out}
	t.Cleanup(func() {
		results.print(t)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	runner := &runner{rig: r, seed: seed, results: results, long: os.Getenv("PGRESYNC_TEST_LONG") != ""}
	cases := Cases()
	for _, fault := range distinct(cases, func(c Case) string { return c.Fault }) {
		of := slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return c.Fault != fault })
		t.Run(fault, func(t *testing.T) { runner.fault(t, of) })
	}
	if err := r.Check(t.Context(), true); err != nil {
		t.Errorf("at the end: %v", err)
	}
}

type runner struct {
	rig     *Rig
	seed    uint64
	results *results
	long    bool
}

func (r *runner) fault(t *testing.T, cases []Case) {
	t.Helper()
	for _, g := range distinct(cases, func(c Case) string { return group(c.Place) }) {
		of := slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return group(c.Place) != g })
		t.Run(g, func(t *testing.T) {
			for _, c := range of {
				if _, rest, deep := strings.Cut(c.Place, "/"); deep {
					t.Run(rest, func(t *testing.T) { r.one(t, c) })
				} else {
					r.one(t, c)
				}
			}
		})
	}
	if struckNothing(cases, r.long, r.results.all) {
		t.Error("none of its cases found anything to strike at: it has tested nothing")
	}
}

// struckNothing reports whether all cases of a fault ran, and all in vain. One that was
// asked for alone may well have been.
func struckNothing(cases []Case, long bool, results []Result) bool {
	vain := map[string]bool{}
	for _, res := range results {
		vain[res.Case] = res.Outcome == nothingToStrike
	}
	some := false
	for _, c := range cases {
		if c.None != "" || c.Long && !long {
			continue
		}
		if !vain[c.Name()] {
			return false
		}
		some = true
	}
	return some
}

func (r *runner) one(t *testing.T, c Case) {
	t.Helper()
	if c.None != "" {
		t.Skip(c.None)
	}
	if c.Long && !r.long {
		t.Skip("takes long; name it in FAULT")
	}
	r.rig.Say = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", time.Now().Format(time.TimeOnly), c.Name(), fmt.Sprintf(format, args...))
	}
	if err := r.rig.Ready(t.Context(), patience); err != nil {
		t.Logf("not well before the case (%v): the standby gets a new disk", err)
		if err := r.rig.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	res := r.rig.Run(t.Context(), c, r.seed)
	r.results.add(res)
	fmt.Fprintf(os.Stderr, "=== %s (seed %d): %s; %d s, %d s of them from the fault on\n", res.Case, res.Seed, res.Outcome, res.Seconds, res.Recovery)
	if res.Failed {
		t.Errorf("%s\nrepeat it with: make test-faults FAULT='%s' SEED=%d", res.Outcome, c.Name(), r.seed)
	}
}

func distinct(cases []Case, of func(Case) string) []string {
	var out []string
	for _, c := range cases {
		if !slices.Contains(out, of(c)) {
			out = append(out, of(c))
		}
	}
	return out
}

// results are written after every case: a run may be cut.
type results struct {
	out string
	all []Result
}

func (r *results) add(res Result) {
	r.all = append(r.all, res)
	b, err := json.MarshalIndent(r.all, "", "\t")
	if err == nil {
		_ = os.WriteFile(filepath.Join(r.out, "faults.json"), b, 0o644) // the log has it, too
	}
}

func (r *results) print(t *testing.T) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, res := range r.all {
		fmt.Fprintf(w, "%s\t%d s\t%d s\t%s\n", res.Case, res.Seconds, res.Recovery, res.Outcome)
	}
	_ = w.Flush() // to memory
	t.Logf("case, duration, recovery, outcome:\n%s", b.String())
}

// Every row of the table has a way to it, or a reason why it has none.
func TestEveryRowIsStruckAt(t *testing.T) {
	struck := map[string]bool{}
	for _, c := range Cases() {
		if c.Fault == "kill-sidecar" {
			struck[c.Place] = true
		}
	}
	for _, row := range resync.Rows() {
		if w := wayTo(row); !struck[place(row)] || w.none != "" && len(w.entering) > 0 {
			t.Errorf("no case for %s", place(row))
		}
	}
	reached := map[string]bool{}
	for _, row := range entries() {
		reached[string(row.To)] = true
	}
	for _, row := range resync.Rows() {
		if !reached[string(row.To)] && !tight(row) {
			t.Errorf("no way to phase %s", row.To)
		}
	}
}

func TestAFaultThatStruckNothingIsSeen(t *testing.T) {
	cases := []Case{{Fault: "f", Place: "a"}, {Fault: "f", Place: "b"}, {Fault: "f", Place: "c", None: "no way"}, {Fault: "f", Place: "d", Long: true}}
	in := func(place, outcome string) Result { return Result{Case: "f/" + place, Outcome: outcome} }
	other := Result{Case: "g/a", Outcome: nothingToStrike}
	for name, tt := range map[string]struct {
		results []Result
		long    bool
		want    bool
	}{
		"in vain":           {[]Result{in("a", nothingToStrike), in("b", nothingToStrike)}, false, true},
		"one struck":        {[]Result{in("a", nothingToStrike), in("b", converged)}, false, false},
		"one failed":        {[]Result{in("a", nothingToStrike), in("b", "it broke")}, false, false},
		"one was asked for": {[]Result{in("a", nothingToStrike)}, false, false},
		"the long one, too": {[]Result{in("a", nothingToStrike), in("b", nothingToStrike)}, true, false},
		"none ran":          {[]Result{other}, false, false},
	} {
		if got := struckNothing(cases, tt.long, tt.results); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	if struckNothing(cases[2:3], false, nil) {
		t.Error("without a case that can run: got true")
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name()] {
			t.Errorf("two cases %s", c.Name())
		}
		seen[c.Name()] = true
	}
}
