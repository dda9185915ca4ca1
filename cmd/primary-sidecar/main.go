// Command primary-sidecar runs beside a PostgreSQL primary on ZFS: it takes
// snapshots inside backup brackets, announces them over NATS, and serves zfs send
// streams to the secondary sidecars.
package main

import (
	"context"
	"io"
	"os"

	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/sidecar"
)

func main() {
	ctx, stop := daemon.Signals(context.Background())
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(daemon.ExitCode(err))
}

var about = settings.About{
	Name: "primary-sidecar",
	About: "primary-sidecar runs beside a PostgreSQL primary on ZFS. It takes ZFS snapshots inside PostgreSQL backup brackets, " +
		"announces them over NATS, and serves them as full or incremental streams to the secondary sidecars of the standbys. " +
		"On a node whose PostgreSQL is a standby it waits.",
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return settings.Run(ctx, about, serve, args, stdout, stderr, sidecar.DoctorVerb(examine))
}
