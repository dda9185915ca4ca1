// Command pgresync is the operator's: it shows what every node of a cluster does,
// and asks the sidecars for snapshots, resyncs, pauses and cleanups. It speaks
// nothing but NATS.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/pgresync/pgresync/internal/daemon"
)

func main() {
	ctx, stop := daemon.Signals(context.Background())
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(daemon.ExitCode(err))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	a := &app{out: stdout, errOut: stderr}
	root := a.command() //nolint:contextcheck // cobra hands each command its context
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := a.coded(root.ExecuteContext(ctx))
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "pgresync: %v\n", err) // there is nowhere else to say it
	}
	return err
}
