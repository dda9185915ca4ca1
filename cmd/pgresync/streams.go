package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func (a *app) streams() *cobra.Command {
	return &cobra.Command{
		Use: "streams", Short: "list the publisher's uploads", Args: cobra.NoArgs,
		Long: "Streams lists the uploads that run, and those that ended and may still be joined.",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				node, err := publisher(ctx, link)
				if err != nil {
					return err
				}
				reply, err := link.Operate(ctx, node, messages.SidecarPrimary, messages.VerbStreams, messages.OperatorRequest{})
				if err != nil {
					return err
				}
				return a.showStreams(reply.Streams)
			})
		},
	}
}

func (a *app) showStreams(streams []messages.StreamRecord) error {
	if a.json() {
		return writeJSON(a.out, append([]messages.StreamRecord{}, streams...))
	}
	t := newTable("STREAM", "DATASET", "STATE", "SENT", "ABOUT", "PARTS", "READERS")
	for _, r := range streams {
		var readers []string
		for _, n := range r.Readers {
			readers = append(readers, string(n))
		}
		name, state, c := string(r.Dataset), string(r.State), plain
		if name == "" {
			name = "(root)"
		}
		if r.Error != "" {
			state, c = state+": "+r.Error, alarm
		}
		t.add(c, string(r.Stream), name, state, size(r.Sent), size(r.Estimate), fmt.Sprint(r.Parts), strings.Join(readers, ","))
	}
	return t.write(a.out, a.colours())
}

func (a *app) verify() *cobra.Command {
	return &cobra.Command{
		Use: "verify STREAM", Short: "read and check the stored parts of a stream", Args: cobra.ExactArgs(1),
		Long: `Verify reads every part of a stream that is stored in the bucket and checks its
hash and its place in the stream, as a standby would. Readers of the stream do
not notice. The exit code is 3 when a part is bad.`,
		RunE: func(c *cobra.Command, args []string) error {
			var id messages.StreamID
			if err := id.UnmarshalText([]byte(args[0])); err != nil {
				return daemon.WithExitCode(err, daemon.ExitUsage)
			}
			cfg, err := load()
			if err != nil {
				return daemon.WithExitCode(err, daemon.ExitUsage)
			}
			return a.connected(c.Context(), func(ctx context.Context, link *bus.Bus) error {
				r, err := stream.NewReader(link.JetStream(), stream.Config{Cluster: cfg.Cluster, Publishers: link.Publishers()})
				if err != nil {
					return err
				}
				return a.verifyStream(ctx, r, id)
			})
		},
	}
}

func (a *app) verifyStream(ctx context.Context, r *stream.Reader, id messages.StreamID) error {
	var report func(stream.Check)
	if terminal(a.errOut) && !a.json() {
		report = func(c stream.Check) {
			_, _ = fmt.Fprintf(a.errOut, "\r%d parts, %s", c.Parts, size(c.Bytes)) // progress is for eyes only
		}
	}
	checks, err := r.Verify(ctx, id, report)
	if report != nil {
		_, _ = fmt.Fprintln(a.errOut)
	}
	if err != nil {
		return err
	}
	if a.json() {
		if err := writeJSON(a.out, checks); err != nil {
			return err
		}
	}
	var bad []error
	for _, c := range checks {
		for _, text := range c.Bad {
			bad = append(bad, fmt.Errorf("stream %s: %s", id, oneLine(text)))
		}
		if a.json() {
			continue
		}
		if _, err := fmt.Fprintln(a.out, verdictOf(&c)); err != nil {
			return err
		}
	}
	return daemon.WithExitCode(errors.Join(bad...), daemon.ExitPrerequisite)
}

func verdictOf(c *stream.Check) string {
	s := fmt.Sprintf("upload %s: %d of %d stored parts are intact, %s", c.Attempt, c.Good, c.Parts, size(c.Bytes))
	if c.First > 0 {
		s += fmt.Sprintf("; %d before them are consumed", c.First)
	}
	switch {
	case c.Aborted != "":
		s += "; its writer gave up: " + oneLine(c.Aborted)
	case c.Ended:
		s += "; it is complete"
	default:
		s += "; it is still being written"
	}
	return s
}
