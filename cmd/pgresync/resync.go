package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

// resyncFlags are those of the resync command.
type resyncFlags struct {
	all, wait, full, dry, resume bool
	reason                       string
}

func (a *app) resync() *cobra.Command {
	var o resyncFlags
	c := &cobra.Command{
		Use: "resync NODE | --all", Short: "resync one standby, or all of them",
		Long: `Resync has a standby copy what it lacks from the publisher and switch to the new
copy. It serves reads meanwhile, and keeps the old copy until the new one
streams. A node that was promoted is only replaced when it is named, never by
--all; its data is set aside. A paused node refuses, unless --resume is given.

With --wait the command returns when the standby streams again (0) or needs its
operator (1). A failure in between is tried again, and waited for.

With --dry-run nothing begins: the plan is shown, with its size and with what
would stop it; the exit code is 3 then.`,
		Example: `  pgresync resync db2 --dry-run
  pgresync resync db2 --wait --reason 'after maintenance'
  pgresync resync --all`,
		ValidArgsFunction: a.completeNodes,
		Args: func(_ *cobra.Command, args []string) error {
			if o.all == (len(args) == 1) || len(args) > 1 {
				return errors.New("want one node, or --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				return a.resyncNodes(ctx, link, args, &o)
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "all standbys")
	f.BoolVar(&o.wait, "wait", false, "wait until it streams again, or needs its operator")
	f.BoolVar(&o.full, "full", false, "copy everything, although a base is there")
	f.BoolVar(&o.dry, "dry-run", false, "only show the plan")
	f.BoolVar(&o.resume, "resume", false, "end a pause first")
	f.StringVar(&o.reason, "reason", "", "for the record")
	c.MarkFlagsMutuallyExclusive("wait", "dry-run")
	return c
}

func (a *app) resyncNodes(ctx context.Context, link *bus.Bus, args []string, o *resyncFlags) error {
	nodes, err := targets(ctx, link, args)
	if err != nil {
		return err
	}
	var errs []error
	begun := map[messages.NodeName]messages.ResyncID{}
	for _, n := range nodes {
		reply, err := link.Operate(ctx, n, messages.SidecarSecondary, messages.VerbResync, messages.OperatorRequest{
			By: who(), Reason: o.reason, Full: o.full, DryRun: o.dry, Resume: o.resume, All: o.all,
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		begun[n] = reply.Resync
		errs = append(errs, a.tell(reply), stopped(n, reply.Plan))
	}
	if o.wait {
		for _, n := range nodes {
			if id := begun[n]; id != "" {
				errs = append(errs, a.await(ctx, link, n, id))
			}
		}
	}
	return errors.Join(errs...)
}

func targets(ctx context.Context, link *bus.Bus, args []string) ([]messages.NodeName, error) {
	present, err := link.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		return []messages.NodeName{messages.NodeName(args[0])}, presence(present, args[0])
	}
	lease, _, err := link.Lease(ctx)
	if err != nil && !errors.Is(err, messages.ErrNotFound) {
		return nil, err
	}
	var nodes []messages.NodeName
	for _, s := range present {
		// "all" is too easily said of a node that was promoted: only its name is consent
		// (docs/adr/0007-consent-by-name.md).
		if s.Sidecar == messages.SidecarSecondary && s.Node != lease.Node && s.Role != messages.RolePrimary {
			nodes = append(nodes, s.Node)
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("resync all: %w: no standby of this cluster is present", messages.ErrUnavailable)
	}
	return nodes, nil
}

// stopped makes an exit code of a plan's obstacles.
func stopped(n messages.NodeName, p *messages.ResyncPlan) error {
	if p == nil || len(p.Obstacles) == 0 {
		return nil
	}
	return daemon.WithExitCode(fmt.Errorf("node %s: the resync would not get far: %s", n, oneLine(p.Obstacles[0])), daemon.ExitPrerequisite)
}

func (a *app) await(ctx context.Context, link *bus.Bus, n messages.NodeName, id messages.ResyncID) error {
	var last messages.NodeStatus
	err := operator.Wait(ctx, link, n, id, func(s messages.NodeStatus) {
		last = s
		text := string(s.Phase)
		if s.Phase == messages.PhaseWaiting && s.Last != nil {
			text += ", " + oneLine(s.Last.Error)
		}
		// To the error stream, so that what a script reads stays one answer.
		_, _ = fmt.Fprintf(a.errOut, "%s: %s\n", n, text)
	})
	if err != nil || a.json() {
		return err
	}
	_, err = fmt.Fprintln(a.out, summary(n, last.Last))
	return err
}

func summary(n messages.NodeName, r *messages.ResyncReport) string {
	if r == nil {
		return fmt.Sprintf("node %s streams again", n)
	}
	var bytes uint64
	for _, p := range r.Passes {
		bytes += p.Bytes
	}
	return fmt.Sprintf("node %s streams again: %s moved in %d passes, %s in all, down for %s",
		n, size(bytes), len(r.Passes), millis(r.TotalMillis), millis(r.DownMillis))
}

func (a *app) tellPlan(p *messages.ResyncPlan) error {
	t := newTable("DATASET", "HOW", "BASE", "SIZE")
	for _, s := range p.Steps {
		name, how := string(s.Dataset), string(s.Kind)
		if name == "" {
			name = "(root)"
		}
		if s.Resumes {
			how += ", resumed"
		}
		t.add(plain, name, how, string(s.Base), size(s.Bytes))
	}
	if len(p.Steps) > 0 {
		if err := t.write(a.out, a.colours()); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("about %s to snapshot %s of %s, %s written there since; %s available here\n",
		size(p.Bytes), p.Target, p.Publisher, size(p.Since), size(p.Available))
	if p.Target == "" {
		text = fmt.Sprintf("%s has no snapshot yet and would take its first one, whose size is not known before; %s available here\n", p.Publisher, size(p.Available))
	}
	_, err := io.WriteString(a.out, text)
	for _, o := range p.Obstacles {
		if err == nil {
			err = paint(a.out, alarm, "obstacle: "+oneLine(o), a.colours())
		}
	}
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
