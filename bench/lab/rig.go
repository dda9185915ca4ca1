package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/faults"
)

// withRig runs f on a primary and a standby that streams from it.
func withRig(ctx context.Context, o options, ro faults.RigOptions, stdout io.Writer, f func(r *faults.Rig) error) (err error) {
	ro.Bin, ro.Out, ro.Scratch, ro.NoGates = o.bin, o.out, o.scratch, true
	ro.Say = func(format string, args ...any) { _, _ = fmt.Fprintf(stdout, format+"\n", args...) }
	r, err := faults.NewRig(ctx, ro)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }() //nolint:contextcheck // what was begun is taken down, whatever became of ctx
	return f(r)
}

func newReport(title string) *report.Report {
	return &report.Report{Title: title, At: time.Now().UTC(), Environment: report.Environment()}
}
