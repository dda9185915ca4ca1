package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

func (a *app) status() *cobra.Command {
	var watch, check bool
	var interval time.Duration
	var rounds int
	c := &cobra.Command{
		Use: "status", Short: "show every node: role, state, lag, base, last resync, verdict", Args: cobra.NoArgs,
		Long: `Status asks every sidecar of the cluster and shows one line for each node,
the publisher first, and below it running transfers and what needs attention.
A node that is known from events but has no sidecar running is "absent".`,
		Example: `  pgresync status
  pgresync status --watch
  pgresync status --check      # exit code 3 when a node needs attention, for monitoring
  pgresync status -o json | jq '.nodes[] | select(.attention)'`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				if watch {
					return a.watch(ctx, link, interval, rounds)
				}
				v, err := a.look(ctx, link)
				if err != nil {
					return err
				}
				if err := a.show(a.out, v); err != nil || !check {
					return err
				}
				return v.check()
			})
		},
	}
	f := c.Flags()
	f.BoolVarP(&watch, "watch", "w", false, "show it again and again, with the progress of transfers, until interrupted")
	f.DurationVar(&interval, "interval", time.Second, "time between two rounds of --watch")
	f.BoolVar(&check, "check", false, "exit with 3 when a node needs attention")
	f.IntVar(&rounds, "rounds", 0, "end --watch after so many rounds; 0 never")
	c.MarkFlagsMutuallyExclusive("watch", "check")
	return c
}

// view is what status shows; its JSON form is -o json.
type view struct {
	At        time.Time               `json:"at"`
	Publisher messages.NodeName       `json:"publisher,omitempty"`
	Nodes     []operator.Row          `json:"nodes"`
	Streams   []messages.StreamRecord `json:"streams,omitempty"`
}

func (a *app) look(ctx context.Context, link operator.Cluster) (*view, error) {
	f, err := operator.Gather(ctx, link, time.Now())
	if err != nil {
		return nil, err
	}
	v := &view{At: f.At.UTC(), Nodes: operator.Rows(f), Streams: f.Streams}
	if f.Lease != nil {
		v.Publisher = f.Lease.Node
	}
	return v, nil
}

// check is nil when nothing needs attention.
func (v *view) check() error {
	var complaints []error
	if v.Publisher == "" {
		complaints = append(complaints, errors.New("no node publishes"))
	}
	for _, r := range v.Nodes {
		if r.Attention != "" {
			complaints = append(complaints, fmt.Errorf("node %s: %s", r.Node, r.Attention))
		}
	}
	return daemon.WithExitCode(errors.Join(complaints...), daemon.ExitPrerequisite)
}

func (a *app) watch(ctx context.Context, link operator.Cluster, interval time.Duration, rounds int) error {
	tick := time.NewTicker(max(interval, 100*time.Millisecond))
	defer tick.Stop()
	for round := 1; ; round++ {
		var b bytes.Buffer
		if terminal(a.out) {
			b.WriteString("\x1b[H\x1b[2J") // home, clear
		}
		v, err := a.look(ctx, link)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, messages.ErrUnavailable):
			fmt.Fprintf(&b, "%s: %v\n", time.Now().Format(time.TimeOnly), err) // it may come back
		case err != nil:
			return err
		default:
			if err := a.show(&b, v); err != nil {
				return err
			}
		}
		if _, err := a.out.Write(b.Bytes()); err != nil || round == rounds {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) show(w io.Writer, v *view) error {
	if a.json() {
		return writeJSON(w, v)
	}
	if len(v.Nodes) == 0 {
		_, err := fmt.Fprintln(w, "no sidecar of this cluster is present")
		return err
	}
	t := newTable("NODE", "ROLE", "STATE", "TL", "LAG", "BASE", "AGE", "LAST RESYNC", "VERDICT")
	for _, r := range v.Nodes {
		t.add(toneOf(&r), cells(&r, v.At)...)
	}
	if err := t.write(w, a.colours()); err != nil {
		return err
	}
	if err := a.showTransfers(w, v); err != nil {
		return err
	}
	return a.showNotes(w, v)
}

func cells(r *operator.Row, now time.Time) []string {
	tl, lag, age, last, verdict := "", "", "", "", ""
	if r.Timeline != 0 {
		tl = r.Timeline.String()
	}
	if r.Lag != nil {
		lag = size(*r.Lag)
	}
	if !r.BaseAt.IsZero() {
		age = span(now.Sub(r.BaseAt))
	}
	if r.Last != nil {
		last = string(r.Last.Phase)
		if r.Last.Phase == messages.PhaseIdle {
			last = "done in " + millis(r.Last.TotalMillis)
		}
		last += " (" + string(r.Last.Reason) + ")"
	}
	if r.Verdict != "" && !r.Publisher {
		verdict = fmt.Sprintf("%s (%s)", r.Verdict, r.Reason)
	}
	state := r.State
	if r.Paused != nil {
		state += ", paused"
	}
	return []string{string(r.Node), string(r.Role), state, tl, lag, string(r.Base), age, last, verdict}
}

func toneOf(r *operator.Row) tone {
	switch {
	case r.State == operator.StateAbsent, r.State == operator.StateSilent, r.State == string(messages.PhaseNeedsOperator),
		r.Verdict == messages.VerdictNeedsOperator && !r.Publisher:
		return alarm
	case r.Attention != "", r.State != string(messages.PhaseIdle) && !r.Publisher:
		return notice
	}
	return good
}

func (a *app) showTransfers(w io.Writer, v *view) error {
	for _, r := range v.Nodes {
		tr := r.Transfer
		if tr == nil {
			continue
		}
		share, rate, left := operator.Progress(tr)
		what := string(tr.Dataset)
		if what == "" {
			what = "(root)"
		}
		line := fmt.Sprintf("\n%s receives %s  ", r.Node, oneLine(what))
		if tr.Estimate > 0 {
			line += fmt.Sprintf("%s %3.0f %%  %s of about %s", bar(share, 30), share*100, size(tr.Bytes), size(tr.Estimate))
		} else {
			line += size(tr.Bytes)
		}
		if rate > 0 {
			line += fmt.Sprintf("  %s/s", size(uint64(rate)))
		}
		if left > 0 {
			line += "  ETA " + span(left)
		}
		if err := paint(w, notice, line, a.colours()); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showNotes(w io.Writer, v *view) error {
	var notes []string
	if v.Publisher == "" {
		notes = append(notes, "no node publishes: is a primary sidecar running beside the primary?")
	}
	for _, r := range v.Nodes {
		if r.Attention != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", r.Node, r.Attention))
		}
	}
	if len(notes) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(mapped(notes, oneLine), "\n"))
	return err
}

func mapped(in []string, f func(string) string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = f(s)
	}
	return out
}
