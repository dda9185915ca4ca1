package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/pgresync/pgresync/messages"
)

// row is one resync of the final table.
type row struct {
	name   string
	report *messages.ResyncReport
}

func (r row) bytes() (sum uint64) {
	for _, p := range r.report.Passes {
		sum += p.Bytes
	}
	return sum
}

func (r row) isSeed() bool {
	for _, p := range r.report.Passes {
		if p.Kind == messages.PassSeed {
			return true
		}
	}
	return false
}

// check: the first two are seeds, the others must be increments.
func (r row) check() error {
	if len(r.report.Passes) == 0 {
		return fmt.Errorf("%s: no pass was made", r.name)
	}
	if seeded := r.report.Reason == messages.ReasonNoData; r.isSeed() != seeded {
		return fmt.Errorf("%s: passes %v: want a seed only where there was nothing", r.name, r.report.Passes)
	}
	return nil
}

// table is what is to be remembered.
func (d *demo) table() {
	var seed uint64
	for _, r := range d.rows {
		if r.isSeed() {
			seed = max(seed, r.bytes())
		}
	}
	d.say.heading("Database of " + bytesText(d.size) + " (stored compressed), under load all the time, on an emulated machine")
	d.say.mu.Lock()
	defer d.say.mu.Unlock()
	t := tabwriter.NewWriter(d.say.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "resync\tpasses\tbytes moved\tof a seed\tseconds\tstandby down")
	for _, r := range d.rows {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%.1f %%\t%.1f\t%s\n", r.name, kinds(r.report), humanize.IBytes(r.bytes()),
			100*float64(r.bytes())/float64(max(seed, 1)), float64(r.report.TotalMillis)/1000, downtime(*r.report))
	}
	_ = t.Flush()
}

func kinds(r *messages.ResyncReport) string {
	out := make([]string, len(r.Passes))
	for i, p := range r.Passes {
		out[i] = string(p.Kind)
	}
	return strings.Join(out, ", ")
}
