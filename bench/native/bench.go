package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/pgresync/pgresync/bench/report"
)

// bench is one run of all cases.
type bench struct {
	options
	dir string
	log io.Writer
}

// run repeats the cases in turns, so that whatever else the machine does falls on
// all of them alike.
func (b *bench) run(ctx context.Context, only *regexp.Regexp) (*report.Report, error) {
	rep := newReport()
	rep.At = time.Now().UTC().Truncate(time.Second)
	var run []testCase
	for _, c := range b.cases() {
		if only.MatchString(c.row.Group + ": " + c.row.Name) {
			run = append(run, c)
			rep.Rows = append(rep.Rows, c.row)
		}
	}
	for n := range b.repeat {
		for i, c := range run {
			r := b.once(ctx, c)
			c.row.Runs = append(c.row.Runs, r)
			_, _ = fmt.Fprintf(b.log, "%d/%d %2d/%d %-10s %-40s %7.2f s %s\n", n+1, b.repeat, i+1, len(run), c.row.Group, c.row.Name, r.Seconds, r.Error)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
	}
	return rep, nil
}

// once runs a case in an empty directory. A failure is a result, too.
func (b *bench) once(ctx context.Context, c testCase) report.Run {
	const patience = 15 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	src, err := b.source(c.row.Params["file"])
	if err != nil {
		return report.Run{Error: err.Error()}
	}
	work := filepath.Join(b.dir, "work")
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o700)); err != nil {
		return report.Run{Error: err.Error()}
	}
	l := &lane{bench: b, ctx: ctx, src: src, work: work, sink: filepath.Join(work, "sink"), busy: report.BusySeconds()}
	err = c.do(l)
	l.end()
	if err == nil && c.intact {
		err = sameSize(src, l.sink)
	}
	if err != nil {
		l.result.Error = err.Error()
	}
	_ = os.RemoveAll(work)
	return l.result
}

func sameSize(a, b string) error {
	x, err := os.Stat(a)
	if err != nil {
		return err
	}
	y, err := os.Stat(b)
	if err != nil {
		return err
	}
	if x.Size() != y.Size() {
		return fmt.Errorf("%d bytes arrived of %d", y.Size(), x.Size())
	}
	return nil
}

// source is a file of incompressible bytes, made once for each size.
func (b *bench) source(size float64) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("source-%.0f", size))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), int64(size))
	return path, errors.Join(err, f.Sync(), f.Close())
}
