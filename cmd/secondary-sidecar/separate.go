package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/privileged"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

// root is who acts on datasets: this process, or the privileged part that it has.
type root struct{ client *privileged.Client }

func (r root) executor() command.Executor {
	if r.client == nil {
		return nil
	}
	return r.client
}

func (r root) zfs() *zfsops.ZFS { return zfsops.New(zfsops.Options{Via: r.executor()}) }

func (r root) usersOf(mountpoints []string) []string {
	if r.client == nil {
		return pgops.UsersOf(mountpoints)
	}
	return r.client.UsersOf(mountpoints)
}

// separate runs work. Where privileges are to be separated it does so in another
// process, which is this program with the same arguments, and acts on datasets for it.
func separate(ctx context.Context, cfg Config, args []string, log zerolog.Logger, work func(context.Context, root) error) error {
	client, err := privileged.Inherited()
	if err != nil {
		return daemon.WithExitCode(err, daemon.ExitPrerequisite)
	}
	if client != nil {
		ctx, cancel := client.Context(ctx)
		defer cancel()
		return work(ctx, root{client})
	}
	if !cfg.SeparatePrivileges {
		return work(ctx, root{})
	}
	if err := lendLock(cfg); err != nil {
		return err
	}
	code, err := privileged.Run(ctx, privileged.Options{
		Policy: policy(cfg), User: cfg.PGUser, Args: args, UsersOf: pgops.UsersOf, Log: log,
	})
	if err != nil {
		return daemon.WithExitCode(fmt.Errorf("PGRESYNC_SEPARATE_PRIVILEGES: %w", err), separationCode(err))
	}
	if code != daemon.ExitOK {
		return daemon.WithExitCode(fmt.Errorf("the unprivileged part ended with exit code %d", code), code)
	}
	return nil
}

// separationCode tells what only an administrator can change.
func separationCode(err error) int {
	if errors.Is(err, privileged.ErrEnded) {
		return daemon.ExitFailure
	}
	return daemon.ExitPrerequisite
}

// policy is what root configured; nothing else enters into it.
func policy(cfg Config) privileged.Policy {
	places := []string{cfg.Mountpoint}
	places = append(places, slices.Sorted(maps.Values(cfg.Mountpoints))...)
	return privileged.Policy{
		Live: cfg.Dataset, Lineage: cfg.Lineage, Mountpoints: places, StageDir: stageDir(cfg), Unit: cfg.PGUnit,
	}
}

// checkSeparation wants to know, from the configuration alone, what root may do.
func (c *Config) checkSeparation() error {
	var errs []error
	if runtime.GOOS != "linux" {
		errs = append(errs, errors.New("privileges are separated on Linux only"))
	}
	if c.PGCommandUser != c.PGUser {
		errs = append(errs, fmt.Errorf("the sidecar runs as %s and cannot start programs as PGRESYNC_PG_COMMAND_USER, %s", c.PGUser, c.PGCommandUser))
	}
	switch {
	case c.Mountpoint == "":
		errs = append(errs, errors.New("PGRESYNC_MOUNTPOINT, and PGRESYNC_MOUNTPOINTS for children that are mounted, must say where"))
	case c.Dataset != "" && c.Lineage != "":
		p := policy(*c)
		errs = append(errs, p.Validate())
	}
	return errors.Join(errs...)
}
