package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/messages"
)

// when reads --since: a duration back from now, or a time.
func when(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: want a duration like 2h30m, or a time like 2026-11-22T10:00:00Z or '2026-11-22 10:00'", s)
}

func (a *app) events() *cobra.Command {
	var follow, transfers bool
	var since, node string
	c := &cobra.Command{
		Use: "events", Short: "list what happened", Args: cobra.NoArgs,
		Long: `Events lists the events that are stored, oldest first. With -o json each is one
document on one line, as on the wire (docs/wire.md).`,
		Example: "  pgresync events --since 1h\n  pgresync events --follow --node db2",
		RunE: func(c *cobra.Command, _ []string) error {
			from, err := when(since, time.Now())
			if err != nil {
				return err
			}
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				return link.History(ctx, from, follow, func(e messages.Event) error {
					if node != "" && string(e.Node) != node || e.Type == messages.EventTransfer && !transfers && !a.json() {
						return nil
					}
					return a.event(&e)
				})
			})
		},
	}
	f := c.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with those that come, until interrupted")
	f.StringVar(&since, "since", "24h", "begin here: a duration back from now, or a time")
	f.StringVar(&node, "node", "", "only those of one node")
	f.BoolVar(&transfers, "transfers", false, "show the progress of transfers too")
	_ = c.RegisterFlagCompletionFunc("node", a.completeNodes) // the flag exists
	return c
}

func (a *app) event(e *messages.Event) error {
	if a.json() {
		return json.NewEncoder(a.out).Encode(e)
	}
	c := map[messages.EventType]tone{
		messages.EventRejoined: good, messages.EventFailed: notice, messages.EventRefused: notice, messages.EventNeedsOperator: alarm,
	}[e.Type]
	return paint(a.out, c, fmt.Sprintf("%s  %-14s  %s", e.At.Local().Format(time.DateTime), e.Type, oneLine(e.Text)), a.colours())
}

func (a *app) history() *cobra.Command {
	var since string
	c := &cobra.Command{
		Use: "history [NODE]", Short: "list past resyncs", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeNodes,
		Long: "History lists the resyncs that are known from stored events, oldest first.",
		RunE: func(c *cobra.Command, args []string) error {
			from, err := when(since, time.Now())
			if err != nil {
				return err
			}
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				var all []messages.Event
				err := link.History(ctx, from, false, func(e messages.Event) error {
					if len(args) == 0 || string(e.Node) == args[0] {
						all = append(all, e)
					}
					return nil
				})
				if err != nil {
					return err
				}
				return a.showHistory(resyncs(all))
			})
		},
	}
	c.Flags().StringVar(&since, "since", "168h", "begin here: a duration back from now, or a time")
	return c
}

// entry is one resync as its last event tells it; its JSON form is -o json.
type entry struct {
	Node    messages.NodeName `json:"node"`
	Outcome string            `json:"outcome"`
	messages.ResyncReport
}

func resyncs(events []messages.Event) []entry {
	last := map[messages.ResyncID]entry{}
	for _, e := range events {
		if e.Resync == nil || e.Resync.ID == "" {
			continue
		}
		out := entry{Node: e.Node, Outcome: string(e.Resync.Phase), ResyncReport: *e.Resync}
		if e.Type == messages.EventRejoined {
			out.Outcome = string(messages.EventRejoined)
		}
		last[e.Resync.ID] = out
	}
	var out []entry
	for _, e := range last {
		out = append(out, e)
	}
	slices.SortFunc(out, func(x, y entry) int { return cmp.Or(x.StartedAt.Compare(y.StartedAt), cmp.Compare(x.ID, y.ID)) })
	return out
}

func (a *app) showHistory(entries []entry) error {
	if a.json() {
		return writeJSON(a.out, append([]entry{}, entries...))
	}
	t := newTable("STARTED", "NODE", "RESYNC", "REASON", "PASSES", "MOVED", "DOWN", "TOTAL", "OUTCOME")
	for _, e := range entries {
		var moved uint64
		for _, p := range e.Passes {
			moved += p.Bytes
		}
		c, outcome := notice, e.Outcome
		switch e.Outcome {
		case string(messages.EventRejoined):
			c = good
		case string(messages.PhaseNeedsOperator):
			c = alarm
		}
		if e.Error != "" && c != good {
			outcome += ": " + e.Error
		}
		t.add(c, e.StartedAt.Local().Format(time.DateTime), string(e.Node), string(e.ID), string(e.Reason), fmt.Sprint(len(e.Passes)),
			size(moved), millis(e.DownMillis), millis(e.TotalMillis), outcome)
	}
	return t.write(a.out, a.colours())
}
