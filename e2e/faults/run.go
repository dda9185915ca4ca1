package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Result is what came of a case.
type Result struct {
	Case     string `json:"case"`
	Outcome  string `json:"outcome"` // one of the good ones, or what went wrong
	Seed     uint64 `json:"seed"`
	Seconds  int    `json:"seconds"`
	Failed   bool   `json:"failed,omitempty"`
	Recovery int    `json:"recovery_seconds"` // from the end of the fault to a standby that is well
}

// The good outcomes.
const (
	converged       = "converged"
	called          = "needs-operator, as it must; converged when asked to"
	nothingToStrike = "nothing to strike at"
)

// Run does one case, on a rig that is Ready.
func (r *Rig) Run(ctx context.Context, c Case, seed uint64) Result {
	began := time.Now()
	r.well = false
	res := Result{Case: c.Name(), Seed: seed, Outcome: converged}
	err := r.run(ctx, c, seed, &res)
	if err != nil {
		res.Failed, res.Outcome = true, err.Error()
		r.hurt = true
	} else {
		r.well = true
	}
	res.Seconds = int(time.Since(began).Seconds())
	return res
}

func (r *Rig) run(ctx context.Context, c Case, seed uint64, res *Result) error {
	if err := r.forget(ctx); err != nil {
		return err
	}
	rnd := c.random(seed)
	at := point{rnd: rnd}
	if c.row != nil {
		var err error
		// A sidecar is also killed before a row is on disk, in one case of four.
		early := c.Fault == "kill-sidecar" && rnd.IntN(4) == 0
		if at, err = r.drive(ctx, *c.row, c.way, early, rnd); err != nil {
			return err
		}
	}
	err := c.strike(ctx, r, at)
	if errors.Is(err, errNothingThere) {
		res.Outcome = nothingToStrike
	} else if err != nil {
		return fmt.Errorf("strike: %w", err)
	}
	struck := time.Now()
	if c.way.operator {
		asked, err := r.operate(ctx, c)
		if err != nil {
			return err
		}
		if asked {
			res.Outcome = called
		}
	}
	if err := r.Converge(ctx, c.limit); err != nil {
		return err
	}
	res.Recovery = int(time.Since(struck).Seconds())
	return r.Check(ctx, false)
}

// forget makes nothing of the resyncs of the cases before: the daily budget is not
// what is tested.
func (r *Rig) forget(ctx context.Context) error {
	j, err := r.Journal(ctx)
	if err != nil || len(j.Begun) < 20 {
		return err
	}
	if err := r.spend(ctx, 0); err != nil {
		return err
	}
	return r.Follow(ctx, nil)
}

// operate waits until the sidecar calls for a person, who asks for a resync. A
// restart under other settings may have gone on by itself.
func (r *Rig) operate(ctx context.Context, c Case) (bool, error) {
	if err := r.rests(ctx, c.limit, true); err != nil {
		return false, err
	}
	j, err := r.Journal(ctx)
	if err != nil || j.Phase != messages.PhaseNeedsOperator {
		return false, err
	}
	if j.Remedy == "" {
		return false, fmt.Errorf("it calls for an operator and does not say what to do: %s", j.Error)
	}
	r.Say("needs-operator: %s; %s", j.Error, j.Remedy)
	if err := r.Follow(ctx, nil); err != nil {
		return false, err
	}
	return true, r.trigger(ctx)
}
