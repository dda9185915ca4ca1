package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// depth is how many calls of zfs beyond the row a sidecar is killed at most.
const depth = 6

// killSidecar ends it before the row is on disk, right after, or a few calls of
// zfs into what the row has it do.
func killSidecar(ctx context.Context, r *Rig, at point) error {
	call := at.call
	if n := at.rnd.IntN(depth + 1); call.Done && n > 0 {
		var err error
		if call, err = r.steps(ctx, at, n); err != nil {
			return err
		}
		r.Say("killed %d calls into %s, at: %.60s", n, at.row.To, call.Args)
	}
	r.follower.Kill9()
	if call.Args != "" {
		// It dies with its parent, as it would where both are of one service.
		if err := call.Kill(); err != nil {
			return err
		}
	}
	if err := r.gate.Open(); err != nil {
		return err
	}
	if err := r.copyKept(ctx); err != nil {
		return err
	}
	return r.Follow(ctx, nil)
}

// errNothingThere is a fault that found nothing to strike at: no server runs in this
// phase, or it took none of the room that was gone.
var errNothingThere = errors.New("nothing to strike at")

// killPostmaster kills the server of the moment. Where one is only about to be
// started, it is that one.
func killPostmaster(ctx context.Context, r *Rig, at point) error {
	before, err := r.Standby.Postmasters()
	if err != nil {
		return err
	}
	if err := r.release(at); err != nil {
		return err
	}
	if len(before) == 0 && !starts(at.row) {
		return errNothingThere
	}
	return world.Until(ctx, "a postmaster to kill", patience, func(context.Context) (bool, string) {
		pids, err := r.Standby.Postmasters()
		if err != nil || len(pids) == 0 {
			return false, fmt.Sprint(err)
		}
		return syscall.Kill(pids[0], syscall.SIGKILL) == nil, fmt.Sprint(pids)
	})
}

// starts reports whether the phase that the row leads to starts a server.
func starts(row resync.Row) bool {
	return slices.Contains([]messages.Phase{messages.PhaseStarting, messages.PhaseReverting}, row.To)
}

// killBackend kills a child of the server: it ends the others, and starts anew.
func killBackend(ctx context.Context, r *Rig, at point) error {
	const children = "select pid from pg_stat_activity where pid <> pg_backend_pid() and backend_type in ('walreceiver', 'background writer', 'checkpointer') order by backend_type"
	before, err := r.Standby.Postmasters()
	if err != nil {
		return err
	}
	if err := r.release(at); err != nil {
		return err
	}
	if len(before) == 0 && !starts(at.row) {
		return errNothingThere
	}
	return world.Until(ctx, "a backend to kill", patience, func(ctx context.Context) (bool, string) {
		out, err := r.Standby.SQL(ctx, children)
		if err != nil || out == "" {
			return false, fmt.Sprint(err)
		}
		pids := strings.Fields(out)
		pid, err := strconv.Atoi(pids[at.rnd.IntN(len(pids))])
		return err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil, out
	})
}

// reboot resets the whole node while the sidecar is in the row. What a boot starts
// first is the seed's choice; it may leave PostgreSQL to the sidecar.
func reboot(ctx context.Context, r *Rig, at point) error {
	before, err := r.Standby.Postmasters()
	if err != nil {
		return err
	}
	if err := r.Standby.PowerOff(ctx); err != nil {
		return err
	}
	if err := errors.Join(at.call.Go(), r.gate.Open(), r.Standby.PowerOn(ctx)); err != nil {
		return err
	}
	r.follower.Kill9() // it is gone, and is waited for
	if err := r.copyKept(ctx); err != nil {
		return err
	}
	order := at.rnd.IntN(3)
	unit := func() {
		// There may be nothing to start: the unit fails then, and the sidecar is to see to it.
		_, err := r.Standby.Run(ctx, world.AsPostgres("pg_ctl", "start", "-W", "-D", world.DataDir, "-l", r.Standby.ServerLog())...)
		r.Say("the boot starts PostgreSQL: %v", err)
	}
	if len(before) > 0 && order == 0 {
		unit()
	}
	err = r.Follow(ctx, nil)
	if len(before) > 0 && order == 1 {
		unit()
	}
	return err
}

// cut takes the standby off the network for d.
func cut(d time.Duration) strike {
	return func(ctx context.Context, r *Rig, at point) error {
		if err := r.Standby.Unplug(ctx); err != nil {
			return err
		}
		if err := r.release(at); err != nil {
			return err
		}
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return r.Standby.Plug(context.WithoutCancel(ctx))
	}
}

// fillDisk takes all room of the pool until the sidecar has failed twice, or is at rest:
// it may not need any.
func fillDisk(ctx context.Context, r *Rig, at point) error {
	mark := len(r.Standby.Log(world.Secondary))
	if err := r.Standby.FillPool(ctx); err != nil {
		return err
	}
	if err := r.release(at); err != nil {
		return err
	}
	var j resync.Journal
	failed := func() []world.Line { return r.Standby.Logged(world.Secondary, mark, "resync: phase failed") }
	err := world.Until(ctx, "two failures or rest", patience, func(ctx context.Context) (bool, string) {
		if len(failed()) > 1 {
			return true, ""
		}
		var err error
		j, err = r.Journal(ctx)
		return err == nil && r.atRest(j, true), fmt.Sprint(j.Phase, err)
	})
	for _, l := range failed() {
		r.Say("%s failed: %.200s", l.Str("phase"), l.Str("error"))
	}
	if err != nil {
		r.Say("with a full pool: %v", err)
	}
	// Who calls for an operator has failed, whether or not its log has arrived.
	struck := len(failed()) > 0 || j.Phase == messages.PhaseNeedsOperator
	if err := r.Standby.FreePool(ctx); err != nil || struck {
		return err
	}
	return errNothingThere
}
