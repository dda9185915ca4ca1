package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// point is where a fault strikes: the sidecar is about to journal the row, or has
// just done so, and waits.
type point struct {
	row  resync.Row
	call world.Call
	rnd  *rand.Rand
}

// release lets the sidecar go on, unhindered.
func (r *Rig) release(at point) error { return errors.Join(at.call.Go(), r.gate.Open()) }

// drive brings the standby to the row. early stops it before the row is on disk.
func (r *Rig) drive(ctx context.Context, row resync.Row, w way, early bool, rnd *rand.Rand) (point, error) {
	if w.prepare != nil {
		if err := w.prepare(ctx, r); err != nil {
			return point{}, err
		}
	}
	if err := r.Follow(ctx, w.env); err != nil {
		return point{}, err
	}
	j, err := r.Journal(ctx)
	if err != nil {
		return point{}, err
	}
	if err := r.gate.Close("set " + messages.PropJournal + "=*"); err != nil {
		return point{}, err
	}
	kick := w.kick
	if kick == nil {
		kick = triggers
	}
	if err := kick(ctx, r); err != nil {
		return point{}, err
	}
	d := drive{r: r, row: row, early: early, from: j.Phase, entering: maps.Clone(w.entering)}
	for {
		call, err := r.gate.Next(ctx, patience)
		if err != nil {
			return point{}, fmt.Errorf("on the way to %s, in phase %s: %w", place(row), d.from, err)
		}
		there, err := d.step(ctx, call)
		if err != nil {
			return point{}, fmt.Errorf("on the way to %s: %w", place(row), err)
		}
		if there {
			return point{row: row, call: call, rnd: rnd}, nil
		}
	}
}

// drive is a walk through the table.
type drive struct {
	r        *Rig
	row      resync.Row
	early    bool
	from     messages.Phase // on disk before the call
	entering entering
}

// step looks at a held call, and lets it go unless this is the place.
func (d *drive) step(ctx context.Context, call world.Call) (there bool, err error) {
	j, err := written(call)
	if err != nil {
		return false, err
	}
	here := d.from == d.row.From && j.Phase == d.row.To && d.fits(j)
	if !call.Done {
		if err := d.r.gate.Mend(); err != nil || here && d.early {
			return err == nil, err
		}
		return false, call.Go()
	}
	if here {
		return true, nil
	}
	if do := d.entering[j.Phase]; do != nil && d.from != j.Phase {
		delete(d.entering, j.Phase)
		if err := do(ctx, d.r); err != nil {
			return false, err
		}
	}
	d.from = j.Phase
	return false, call.Go()
}

// fits tells rows apart that lead from and to the same phases.
func (d *drive) fits(j resync.Journal) bool {
	switch {
	case d.row.From == d.row.To:
		return d.entering[d.row.To] == nil // the failure was made
	case d.row.To == messages.PhaseReverting:
		return j.Incurable == (d.row.On == resync.EventIncurable)
	}
	return true
}

// steps lets the sidecar do up to n calls of zfs beyond the row, and holds the one
// after; it may have no more to do.
func (r *Rig) steps(ctx context.Context, at point, n int) (world.Call, error) {
	if err := errors.Join(r.gate.Close("*"), at.call.Go()); err != nil {
		return world.Call{}, err
	}
	for i := range n {
		call, err := r.gate.Next(ctx, 3*time.Second)
		if err != nil || i == n-1 {
			return call, nil //nolint:nilerr // it rests, or works on something else
		}
		if err := call.Go(); err != nil {
			return call, err
		}
	}
	return world.Call{}, nil
}
