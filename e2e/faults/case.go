package faults

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Case is one fault at one place.
type Case struct {
	// Fault and Place are its name.
	Fault, Place string
	// None is why there is nothing to do, "" when there is.
	None string
	// Long cases only run when they are asked for by name.
	Long bool

	row    *resync.Row // nil for those of the primary
	way    way
	strike strike
	limit  time.Duration // until the standby must be well again
}

// Name is what one asks for it by.
func (c Case) Name() string { return c.Fault + "/" + c.Place }

// random is the same for the same case and seed.
func (c Case) random(seed uint64) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name())) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// strike is done while the sidecar waits at the gate, in the row; it lets it go.
type strike func(ctx context.Context, r *Rig, at point) error

const patience = 5 * time.Minute

// Cases are all there are, in the order in which they run.
func Cases() []Case {
	var out []Case
	for _, row := range resync.Rows() {
		out = append(out, Case{Fault: "kill-sidecar", Place: place(row), row: &row, way: wayTo(row), strike: killSidecar})
	}
	for _, f := range []struct {
		name   string
		strike strike
		long   bool
	}{
		{"kill-postmaster", killPostmaster, false},
		{"kill-backend", killBackend, false},
		{"reboot", reboot, false},
		{"cut-1s", cut(time.Second), false},
		{"cut-30s", cut(30 * time.Second), false},
		{"cut-10m", cut(10 * time.Minute), true},
	} {
		for _, row := range entries() {
			out = append(out, Case{Fault: f.name, Place: string(row.To), row: &row, way: wayTo(row), strike: f.strike, Long: f.long})
		}
	}
	for _, row := range entries() {
		if slices.Contains(roomNeeded, row.To) {
			// What does not fit is an operator's business; what runs out of room elsewhere may
			// just be tried again.
			w := wayTo(row)
			w.operator = true
			out = append(out, Case{Fault: "disk-full", Place: string(row.To), row: &row, way: w, strike: fillDisk})
		}
	}
	out = append(out, primaryCases()...)
	for i := range out {
		c := &out[i]
		c.None = c.way.none
		switch {
		case c.limit > 0:
		case c.Long: // what was written meanwhile has to be fetched, too
			c.limit = 2 * patience
		default:
			c.limit = patience
		}
	}
	return out
}

// place puts the phase first, so that one can ask for all rows of one.
func place(r resync.Row) string { return fmt.Sprintf("%s/%s-in-%s", r.To, r.On, r.From) }

// roomNeeded are the phases that write to the pool.
var roomNeeded = []messages.Phase{messages.PhaseReceiving, messages.PhaseStaging, messages.PhaseStarting}

// entries are rows by which each phase of the table is entered: the first one in
// the table that has a way. To go back is only of interest once the new copy is in
// the old one's place.
func entries() []resync.Row {
	var out []resync.Row
	for _, row := range resync.Rows() {
		seen := slices.ContainsFunc(out, func(r resync.Row) bool { return r.To == row.To })
		early := row.To == messages.PhaseReverting && row.From != messages.PhaseStarting
		if !seen && !early && wayTo(row).none == "" {
			out = append(out, row)
		}
	}
	return out
}

// group is the part of a place before its first slash.
func group(place string) string {
	first, _, _ := strings.Cut(place, "/")
	return first
}
