// Command secondary-sidecar runs beside a PostgreSQL standby on ZFS: it sees that
// replication cannot continue, receives what the standby lacks, and switches to the
// new copy.
package main

import (
	"context"
	"io"
	"os"

	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/daemon/settings"
)

func main() {
	ctx, stop := daemon.Signals(context.Background())
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(daemon.ExitCode(err))
}

var about = settings.About{
	Name: "secondary-sidecar",
	About: "secondary-sidecar runs beside a PostgreSQL standby on ZFS. When replication cannot continue, or on request, it receives " +
		"what changed from the primary sidecar over NATS while the standby keeps serving, switches to the new copy, and proves that it " +
		"streams; until then the old copy stays. On a node whose PostgreSQL is the primary it waits.",
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return settings.Run(ctx, about, serve, args, stdout, stderr, doctorVerb(), seedVerb())
}
