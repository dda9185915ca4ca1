// Package report holds what the benchmarks measured: rows of a comparison that
// was made side by side in one run, each repeated a few times, with what every
// process cost. It is kept as JSON, printed as a table and drawn by bench/plot.
package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Report is one run of a benchmark command.
type Report struct {
	Title string    `json:"title"`
	At    time.Time `json:"at"`
	// Environment says where: processor, kernel, versions.
	Environment map[string]string `json:"environment"`
	Rows        []*Row            `json:"rows"`
}

// Row is one way to do the work.
type Row struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	// Bytes is the useful work of one repetition.
	Bytes int64 `json:"bytes"`
	// Params are numbers that a plot may have on an axis.
	Params map[string]float64 `json:"params,omitempty"`
	Runs   []Run              `json:"runs"`
}

// Run is one repetition.
type Run struct {
	Seconds   float64   `json:"seconds"`
	Processes []Process `json:"processes,omitempty"`
	// Values are further numbers: bytes moved, seconds down, …
	Values map[string]float64 `json:"values,omitempty"`
	// Error is why there is no result.
	Error string `json:"error,omitempty"`
}

// Process is what one process cost, its children included.
type Process struct {
	Name string  `json:"name"`
	CPU  float64 `json:"cpu_seconds"`
	RSS  float64 `json:"peak_rss_mib"`
}

// Spread is a median with its extremes.
type Spread struct{ Median, Min, Max float64 }

// Good are the repetitions that succeeded.
func (r *Row) Good() []Run {
	return slices.DeleteFunc(slices.Clone(r.Runs), func(run Run) bool { return run.Error != "" })
}

// Seconds is the wall time.
func (r *Row) Seconds() Spread {
	return r.spread(func(run Run) float64 { return run.Seconds })
}

// Rate is in MiB/s.
func (r *Row) Rate() Spread {
	return r.spread(func(run Run) float64 { return float64(r.Bytes) / (1 << 20) / run.Seconds })
}

// Value is one of the further numbers.
func (r *Row) Value(name string) Spread {
	return r.spread(func(run Run) float64 { return run.Values[name] })
}

// CPU is the sum over all processes, in seconds.
func (r *Row) CPU() Spread {
	return r.spread(func(run Run) (sum float64) {
		for _, p := range run.Processes {
			sum += p.CPU
		}
		return sum
	})
}

// Process is what the processes of one name cost: the sum of their CPU seconds
// and the greatest peak, over all repetitions' medians.
func (r *Row) Process(name string) (cpu, rss Spread) {
	of := func(run Run, pick func(sum float64, p Process) float64) (v float64) {
		for _, p := range run.Processes {
			if p.Name == name {
				v = pick(v, p)
			}
		}
		return v
	}
	cpu = r.spread(func(run Run) float64 {
		return of(run, func(sum float64, p Process) float64 { return sum + p.CPU })
	})
	rss = r.spread(func(run Run) float64 {
		return of(run, func(most float64, p Process) float64 { return max(most, p.RSS) })
	})
	return cpu, rss
}

// Names are the processes' names in the order of their first appearance.
func (r *Row) Names() (out []string) {
	for _, run := range r.Runs {
		for _, p := range run.Processes {
			if !slices.Contains(out, p.Name) {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

func (r *Row) spread(of func(Run) float64) Spread {
	good := r.Good()
	if len(good) == 0 {
		return Spread{}
	}
	values := make([]float64, len(good))
	for i, run := range good {
		values[i] = of(run)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	n := len(values)
	return Spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}

// Group are the rows of one group in order.
func (r *Report) Group(name string) []*Row {
	return slices.DeleteFunc(slices.Clone(r.Rows), func(row *Row) bool { return row.Group != name })
}

// Find is a row, nil if there is none.
func (r *Report) Find(group, name string) *Row {
	i := slices.IndexFunc(r.Rows, func(row *Row) bool { return row.Group == group && row.Name == name })
	if i < 0 {
		return nil
	}
	return r.Rows[i]
}

// Save writes the report to a file, which is replaced whole.
func (r *Report) Save(path string) error {
	body, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(path+".new", append(body, '\n'), 0o644); err != nil { //nolint:gosec // results are for everybody
		return fmt.Errorf("save results: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Load reads what Save wrote.
func Load(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var r Report
	err = json.NewDecoder(io.LimitReader(f, 64<<20)).Decode(&r)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("results %s: %w", path, err)
	}
	return &r, nil
}
