// Command soak strikes at random at a standby under load for as long as it is told
// to, with the cases of e2e/faults, and looks at the promises all the while. It
// runs in the lab; `make soak SOAK=1h SEED=1` starts it there. The same seed makes
// the same faults in the same order.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/pgresync/pgresync/e2e/faults"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

// report is what a soak leaves, written anew after every case.
type report struct {
	Seed     uint64          `json:"seed"`
	Began    time.Time       `json:"began"`
	Minutes  float64         `json:"minutes"`
	Cases    int             `json:"cases"`
	Failures int             `json:"failures"`
	Outcomes map[string]int  `json:"outcomes"`
	Seen     faults.Seen     `json:"seen"`
	Results  []faults.Result `json:"results"`
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	bin, out := getenv("LAB_IN"), getenv("LAB_OUT")
	if bin == "" || out == "" {
		return errors.New("run it with `make soak`")
	}
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	length := f.Duration("for", time.Hour, "how long")
	seed := f.Uint64("seed", 1, "what is struck at, and in which order")
	if err := f.Parse(args); err != nil {
		return err
	}
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(stdout, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
	}
	r, err := faults.NewRig(ctx, faults.RigOptions{Bin: bin, Out: out, Say: say, Tail: faults.Tail(stdout)})
	if err != nil {
		return err
	}
	s := &soak{rig: r, say: say, path: filepath.Join(out, "soak.json"), report: report{Seed: *seed, Began: time.Now().UTC(), Outcomes: map[string]int{}}}
	err = s.run(ctx, *length)
	return errors.Join(err, r.Close())
}

type soak struct {
	rig    *faults.Rig
	say    func(string, ...any)
	path   string
	report report
}

func (s *soak) run(ctx context.Context, length time.Duration) error {
	m := s.rig.Watch(ctx)
	defer m.Stop()
	rnd := rand.New(rand.NewPCG(s.report.Seed, 0))
	cases := slices.DeleteFunc(faults.Cases(), func(c faults.Case) bool { return c.None != "" || c.Long })
	var deck []faults.Case
	for time.Since(s.report.Began) < length && ctx.Err() == nil {
		// A deck of cards and no dice: an hour has room for most cases, but only once.
		if len(deck) == 0 {
			deck = slices.Clone(cases)
			rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		c, seed := deck[0], rnd.Uint64N(1000)
		deck = deck[1:]
		if err := s.ready(ctx, m); err != nil {
			return err
		}
		s.take(s.rig.Run(ctx, c, seed), m.Seen())
	}
	if err := s.rig.Check(ctx, true); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	seen := m.Stop()
	s.report.Seen = seen
	s.say("%d cases in %.0f minutes, %d failed, outcomes %v; %+v", s.report.Cases, s.report.Minutes, s.report.Failures, s.report.Outcomes, seen)
	if err := s.save(); err != nil {
		return err
	}
	if s.report.Failures > 0 || len(seen.Violations) > 0 {
		return fmt.Errorf("%d cases failed, %d promises were broken; %s has them", s.report.Failures, len(seen.Violations), s.path)
	}
	return ctx.Err()
}

// ready goes on after a failure on a new disk: an hour is too long to end in its
// first minute.
func (s *soak) ready(ctx context.Context, m *faults.Monitor) error {
	const limit = 5 * time.Minute
	err := s.rig.Ready(ctx, limit)
	if err == nil {
		return nil
	}
	s.say("not well before the case (%v): the standby gets a new disk", err)
	return m.Unseen(func() error { return s.rig.Renew(ctx) })
}

func (s *soak) take(res faults.Result, seen faults.Seen) {
	s.report.Results = append(s.report.Results, res)
	s.report.Cases++
	outcome := res.Outcome
	if res.Failed {
		s.report.Failures++
		outcome = "failed"
	}
	s.report.Outcomes[outcome]++
	s.report.Minutes = time.Since(s.report.Began).Minutes()
	s.report.Seen = seen
	s.say("%5.1f min: %s (seed %d): %s; %d s, recovery %d s; pg_wal at most %d MiB, %d violations", s.report.Minutes, res.Case, res.Seed,
		res.Outcome, res.Seconds, res.Recovery, seen.MostWAL>>20, len(seen.Violations))
	if err := s.save(); err != nil {
		s.say("%v", err)
	}
}

func (s *soak) save() error {
	b, err := json.MarshalIndent(s.report, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path, append(b, '\n'), 0o644)
}
