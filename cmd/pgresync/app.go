package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

var _ operator.Cluster = (*bus.Bus)(nil)

// app is one run of the command.
type app struct {
	out, errOut io.Writer
	// The persistent flags.
	format  string
	timeout time.Duration
	colour  string
	// begun is set when the command line was understood.
	begun bool
}

const about = `pgresync shows what every node of a cluster does, and asks the sidecars for
snapshots, resyncs, pauses and cleanups. It speaks nothing but NATS, and needs
neither root nor a database login.

It reads the same environment as the sidecars: PGRESYNC_CLUSTER and
PGRESYNC_NATS_…; see docs/configuration.md.

Exit codes: 0 done, 1 failure, 2 command line or configuration, 3 a check failed
or a permission is missing, 5 a sidecar refused, 6 NATS or the sidecar does not
answer.`

// command is the whole tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use: "pgresync", Short: "see and steer the resyncs of a PostgreSQL cluster on ZFS", Long: about, Version: version(),
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkFlags() },
	}
	root.SetVersionTemplate("pgresync {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVarP(&a.format, "output", "o", "table", "output format: table or json")
	f.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to try to reach NATS")
	f.StringVar(&a.colour, "color", "auto", "colours: auto (on a terminal, unless NO_COLOR is set), always or never")
	fixed(root, "output", "table", "json")
	fixed(root, "color", "auto", "always", "never")
	root.AddCommand(
		a.status(), a.snapshot(), a.resync(), a.pause(), a.resume(), a.events(), a.history(), a.streams(), a.verify(), a.cleanup(),
	)
	return root
}

// fixed completes a flag with its values.
func fixed(c *cobra.Command, flag string, values ...string) {
	// It fails for a flag that does not exist, which the tests would show.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func (a *app) checkFlags() error {
	if a.format != "table" && a.format != "json" {
		return fmt.Errorf("--output %q: want table or json", a.format)
	}
	if a.colour != "auto" && a.colour != "always" && a.colour != "never" {
		return fmt.Errorf("--color %q: want auto, always or never", a.colour)
	}
	return nil
}

// connected runs f with a link to NATS.
func (a *app) connected(ctx context.Context, f func(ctx context.Context, link *bus.Bus) error) error {
	a.begun = true
	cfg, err := load()
	if err != nil {
		return daemon.WithExitCode(err, daemon.ExitUsage)
	}
	to, err := cfg.bus()
	if err != nil {
		return daemon.WithExitCode(err, daemon.ExitUsage)
	}
	dial, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	link, err := bus.Connect(dial, to)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", messages.ErrUnavailable, err)
	}
	if err != nil {
		return err
	}
	defer link.Close()
	return f(ctx, link)
}

// coded gives err the exit code that docs/exit-codes.md promises.
func (a *app) coded(err error) error {
	switch {
	case err == nil:
		return nil
	case !a.begun:
		return daemon.WithExitCode(fmt.Errorf("%w; see `pgresync --help`", err), daemon.ExitUsage)
	case daemon.ExitCode(err) != daemon.ExitFailure:
		return err
	case errors.Is(err, messages.ErrPermission):
		return daemon.WithExitCode(err, daemon.ExitPrerequisite)
	case errors.Is(err, messages.ErrRefused), errors.Is(err, messages.ErrBadDocument):
		return daemon.WithExitCode(err, daemon.ExitRefused)
	case errors.Is(err, messages.ErrUnavailable), errors.Is(err, messages.ErrNotPrimary):
		return daemon.WithExitCode(err, daemon.ExitUnavailable)
	}
	return err
}

func (a *app) json() bool { return a.format == "json" }

// terminal reports whether w is one that understands escapes.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// colours follows no-color.org: any value of NO_COLOR but the empty one.
func (a *app) colours() bool {
	switch a.colour {
	case "always":
		return true
	case "never":
		return false
	}
	return terminal(a.out) && os.Getenv("NO_COLOR") == ""
}
