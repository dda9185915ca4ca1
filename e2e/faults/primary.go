package faults

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/e2e/world"
)

// slow makes a seed of documents last for some seconds.
const slow = "16mbit"

// primaryCases kill the primary's sidecar where it has something in its hands.
func primaryCases() []Case {
	at := func(pattern string, done bool) strike {
		return func(ctx context.Context, r *Rig, p point) error { return killPublisher(ctx, r, p, pattern, done) }
	}
	return []Case{
		{Fault: "kill-primary-sidecar", Place: "in-the-bracket", strike: at("snapshot *", false)},
		{Fault: "kill-primary-sidecar", Place: "after-the-snapshot", strike: at("snapshot *", true)},
		{Fault: "kill-primary-sidecar", Place: "before-complete", strike: at("hold *", true)},
		{Fault: "kill-primary-sidecar", Place: "before-the-event", strike: at("set *pgresync:state=complete*", true)},
		{Fault: "kill-primary-sidecar", Place: "in-the-upload", strike: killUploader},
	}
}

// killPublisher kills it at a call of zfs of its own, while the standby waits for
// a snapshot. Whether that call is still done is the seed's choice.
func killPublisher(ctx context.Context, r *Rig, at point, pattern string, done bool) error {
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
	r.publisher.Kill9()
	if at.rnd.IntN(2) == 0 {
		r.Say("its call of zfs is killed, too")
		err = call.Kill()
	}
	if err := errors.Join(err, r.primaryGate.Open()); err != nil {
		return err
	}
	if err := r.bracketCloses(ctx); err != nil {
		return err
	}
	return r.startPublisher(ctx)
}

// bracketCloses waits until PostgreSQL has left the backup mode.
func (r *Rig) bracketCloses(ctx context.Context) error {
	return world.Until(ctx, "the end of the backup mode", patience, func(ctx context.Context) (bool, string) {
		got, err := r.Primary.SQL(ctx, "select count(*) from pg_stat_activity where application_name = 'pgresync'")
		return err == nil && got == "0", fmt.Sprint(got, err)
	})
}

// killUploader kills it when a seed is half way to the standby.
func killUploader(ctx context.Context, r *Rig, _ point) error {
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
	r.publisher.Kill9()
	if err := r.Standby.Unthrottle(ctx); err != nil {
		return err
	}
	return r.startPublisher(ctx)
}
