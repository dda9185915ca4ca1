package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/messages"
)

func (a *app) snapshot() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "snapshot", Short: "take a snapshot of the primary now", Args: cobra.NoArgs,
		Long: `Snapshot has the publisher take a snapshot inside a backup bracket, and returns
when it is complete. It takes as long as a checkpoint.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				node, err := publisher(ctx, link)
				if err != nil {
					return err
				}
				return a.ask(ctx, link, node, messages.SidecarPrimary, messages.VerbSnapshot, messages.OperatorRequest{By: who(), Reason: reason})
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "for the record")
	return c
}

func (a *app) pause() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "pause NODE", Short: "keep a node from beginning anything by itself", Args: cobra.ExactArgs(1),
		Long: `Pause is durable: it outlives a restart of the sidecars, until resume. A paused
standby starts no resync, does no housekeeping and does not refresh its lineage;
a resync that runs goes on. A paused publisher takes no snapshots by schedule; it
serves its standbys all the same. It is said to all sidecars of the node.`,
		ValidArgsFunction: a.completeNodes,
		RunE: func(c *cobra.Command, args []string) error {
			return a.toNode(c.Context(), args[0], messages.VerbPause, messages.OperatorRequest{By: who(), Reason: reason})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; status shows it")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) resume() *cobra.Command {
	return &cobra.Command{
		Use: "resume NODE", Short: "end a pause, or drop a request that stopped", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeNodes,
		Long: `Resume ends a pause. A resync that was asked for and stopped for its operator is
dropped: a standby that streams needs nobody from then on.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.toNode(c.Context(), args[0], messages.VerbResume, messages.OperatorRequest{By: who()})
		},
	}
}

func (a *app) cleanup() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "cleanup [NODE…]", Short: "remove what nobody needs any more", ValidArgsFunction: a.completeNodes,
		Long: `Cleanup does the housekeeping of the given nodes (all without one) now, and
lists what it removed: copies that a resync left behind, snapshots beyond those
to be kept, slots of earlier copies. Data that was set aside for you is listed,
and never removed.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.toNodes(c.Context(), args, messages.VerbCleanup, messages.OperatorRequest{By: who(), DryRun: dry})
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return c
}

func (a *app) toNode(ctx context.Context, node string, verb messages.OperatorVerb, r messages.OperatorRequest) error {
	return a.toNodes(ctx, []string{node}, verb, r)
}

// toNodes asks all sidecars of the named nodes that are present; without a name,
// of all nodes.
func (a *app) toNodes(ctx context.Context, wanted []string, verb messages.OperatorVerb, r messages.OperatorRequest) error {
	return a.connected(ctx, func(ctx context.Context, link *bus.Bus) error {
		present, err := link.Nodes(ctx)
		if err != nil {
			return err
		}
		errs := []error{presence(present, wanted...)}
		for _, s := range present {
			if len(wanted) > 0 && !slices.Contains(wanted, string(s.Node)) || idle(verb, s) {
				continue
			}
			errs = append(errs, a.ask(ctx, link, s.Node, s.Sidecar, verb, r))
		}
		return errors.Join(errs...)
	})
}

// idle spares the operator the refusal of a primary sidecar that is not on duty.
func idle(verb messages.OperatorVerb, s messages.NodeStatus) bool {
	return verb == messages.VerbCleanup && s.Sidecar == messages.SidecarPrimary && s.Role != messages.RolePrimary
}

// names are the nodes that are present, each once.
func names(present []messages.NodeStatus) []string {
	var out []string
	for _, s := range present {
		out = append(out, string(s.Node))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// presence is nil when every wanted node has a sidecar running.
func presence(present []messages.NodeStatus, wanted ...string) error {
	var errs []error
	there := names(present)
	for _, name := range wanted {
		if !slices.Contains(there, name) {
			errs = append(errs, fmt.Errorf("node %s: %w: no sidecar of it is present (there are: %s)", name, messages.ErrUnavailable, orNone(strings.Join(there, ", "))))
		}
	}
	return errors.Join(errs...)
}

// publisher is who holds the lease.
func publisher(ctx context.Context, link *bus.Bus) (messages.NodeName, error) {
	lease, _, err := link.Lease(ctx)
	if errors.Is(err, messages.ErrNotFound) {
		return "", fmt.Errorf("find the publisher: %w: no node holds the lease; is a primary sidecar running?", messages.ErrUnavailable)
	}
	return lease.Node, err
}

// ask sends one request and shows the answer.
func (a *app) ask(ctx context.Context, link *bus.Bus, node messages.NodeName, sidecar string, verb messages.OperatorVerb, r messages.OperatorRequest) error {
	reply, err := link.Operate(ctx, node, sidecar, verb, r)
	if err != nil {
		return err
	}
	return a.tell(reply)
}

func (a *app) tell(reply *messages.OperatorReply) error {
	if a.json() {
		return writeJSON(a.out, reply)
	}
	if _, err := fmt.Fprintln(a.out, oneLine(reply.Text)); err != nil {
		return err
	}
	switch {
	case reply.Plan != nil:
		return a.tellPlan(reply.Plan)
	case reply.Cleanup != nil:
		return a.tellCleanup(reply.Cleanup)
	}
	return nil
}

func (a *app) tellCleanup(r *messages.CleanupReport) error {
	if len(r.Items) > 0 {
		t := newTable("KIND", "NAME", "WHY")
		for _, i := range r.Items {
			t.add(plain, i.Kind, i.Name, i.Why)
		}
		if err := t.write(a.out, a.colours()); err != nil {
			return err
		}
	}
	for _, d := range r.Kept {
		if _, err := fmt.Fprintf(a.out, "kept for you: %s\n", oneLine(string(d))); err != nil {
			return err
		}
	}
	return nil
}

// completeNodes offers the nodes that are present to the shell.
func (a *app) completeNodes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var there []string
	err := a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
		present, err := link.Nodes(ctx)
		there = names(present)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return there, cobra.ShellCompDirectiveNoFileComp
}
