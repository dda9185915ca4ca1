package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/pgresync/pgresync/e2e/world"
)

// slow makes a seed of documents last for some seconds.
const slow = "16mbit"

// blow is what happens to the primary while a call of zfs of its sidecar's is held;
// nil when none is.
type blow func(ctx context.Context, r *Rig, at point, held *world.Call) error

// primaryCases strike the primary where its sidecar has something in its hands.
func primaryCases() []Case {
	var out []Case
	for _, f := range []struct {
		name string
		blow blow
	}{
		{"kill-primary-sidecar", killPublisher},
		{"crash-primary", crashPrimary},
		{"reboot-primary", rebootPrimary},
	} {
		at := func(pattern string, done bool) strike {
			return func(ctx context.Context, r *Rig, p point) error {
				return inTheBracket(ctx, r, p, pattern, done, f.blow)
			}
		}
		out = append(out,
			Case{Fault: f.name, Place: "in-the-bracket", strike: at("snapshot *", false)},
			Case{Fault: f.name, Place: "after-the-snapshot", strike: at("snapshot *", true)},
			Case{Fault: f.name, Place: "before-complete", strike: at("hold *", true)},
			Case{Fault: f.name, Place: "before-the-event", strike: at("set *pgresync:state=complete*", true)},
			Case{Fault: f.name, Place: "in-the-upload", strike: func(ctx context.Context, r *Rig, p point) error { return inTheUpload(ctx, r, p, f.blow) }},
		)
	}
	return out
}

// inTheBracket strikes at a call of zfs of the sidecar's, while the standby waits for
// a snapshot.
func inTheBracket(ctx context.Context, r *Rig, at point, pattern string, done bool, blow blow) error {
	if err := r.primaryGate.Close(pattern); err != nil {
		return err
	}
	if err := r.trigger(ctx); err != nil {
		return err
	}
	call, err := r.primaryGate.Next(ctx, patience)
	for err == nil && call.Done != done {
		err = call.Go()
		if err == nil {
			call, err = r.primaryGate.Next(ctx, patience)
		}
	}
	if err != nil {
		return err
	}
	return blow(ctx, r, at, &call)
}

// inTheUpload strikes when a seed is half way to the standby.
func inTheUpload(ctx context.Context, r *Rig, at point, blow blow) error {
	if err := r.Standby.Throttle(ctx, slow); err != nil {
		return err
	}
	if err := r.seed(ctx); err != nil {
		return err
	}
	err := world.Until(ctx, "a transfer in its middle", patience, func(context.Context) (bool, string) {
		send, err := r.Primary.Find("zfs", "send")
		receive, rerr := r.Standby.Find("zfs", "receive")
		return len(send) > 0 && len(receive) > 0, fmt.Sprint(send, receive, err, rerr)
	})
	if err != nil {
		return err
	}
	return errors.Join(blow(ctx, r, at, nil), r.Standby.Unthrottle(ctx))
}

// killPublisher kills the sidecar. Whether its call is still done is the seed's
// choice.
func killPublisher(ctx context.Context, r *Rig, at point, held *world.Call) error {
	r.publisher.Kill9()
	var err error
	if held != nil && at.rnd.IntN(2) == 0 {
		r.Say("its call of zfs is killed, too")
		err = held.Kill()
	}
	if err := errors.Join(err, r.primaryGate.Open()); err != nil {
		return err
	}
	if err := r.bracketCloses(ctx); err != nil {
		return err
	}
	return r.startPublisher(ctx)
}

// crashPrimary kills PostgreSQL under the sidecar, and starts it again as its unit
// would.
func crashPrimary(ctx context.Context, r *Rig, _ point, held *world.Call) error {
	pids, err := r.Primary.Postmasters()
	if err != nil || len(pids) == 0 {
		return errors.Join(err, errNothingThere)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	if held != nil {
		err = held.Go()
	}
	if err := errors.Join(err, r.primaryGate.Open()); err != nil {
		return err
	}
	return r.primaryComesBack(ctx)
}

// rebootPrimary resets the primary's node.
func rebootPrimary(ctx context.Context, r *Rig, _ point, held *world.Call) error {
	if err := r.Primary.PowerOff(ctx); err != nil {
		return err
	}
	var err error
	if held != nil {
		err = held.Go()
	}
	if err := errors.Join(err, r.primaryGate.Open(), r.Primary.PowerOn(ctx)); err != nil {
		return err
	}
	r.publisher.Kill9() // it is gone, and is waited for
	if err := r.primaryComesBack(ctx); err != nil {
		return err
	}
	return r.startPublisher(ctx)
}

// primaryComesBack starts PostgreSQL on the primary, and the load. Processes of a
// killed postmaster may be in the way for a moment, and pg_ctl itself waits for two
// minutes.
func (r *Rig) primaryComesBack(ctx context.Context) error {
	err := world.Until(ctx, "the primary to start again", patience, func(ctx context.Context) (bool, string) {
		err := r.Primary.StartServer(ctx)
		return err == nil, fmt.Sprint(err)
	})
	if err != nil || r.Load == nil {
		return err
	}
	r.Load.Kill9()
	r.Load, err = r.Primary.StartLoad(ctx, rate)
	return err
}

// bracketCloses waits until PostgreSQL has left the backup mode.
func (r *Rig) bracketCloses(ctx context.Context) error {
	return world.Until(ctx, "the end of the backup mode", patience, func(ctx context.Context) (bool, string) {
		got, err := r.Primary.SQL(ctx, "select count(*) from pg_stat_activity where application_name = 'pgresync'")
		return err == nil && got == "0", fmt.Sprint(got, err)
	})
}
