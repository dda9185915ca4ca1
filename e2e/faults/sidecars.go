package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

// Ready starts what does not run, undoes what faults have left, and waits until
// the standby is well.
func (r *Rig) Ready(ctx context.Context, limit time.Duration) error {
	if r.well && len(r.env) == 0 && r.follower.Running() && r.publisher.Running() {
		return nil
	}
	if err := r.heal(ctx); err != nil {
		return err
	}
	if r.publisher == nil || !r.publisher.Running() {
		if err := r.startPublisher(ctx); err != nil {
			return err
		}
	}
	if !r.o.Idle && (r.Load == nil || !r.Load.Running()) {
		var err error
		if r.Load, err = r.Primary.StartLoad(ctx, rate); err != nil {
			return err
		}
	}
	if err := r.Follow(ctx, nil); err != nil {
		return err
	}
	return r.Converge(ctx, limit)
}

// heal undoes what is left of a fault that did not come to its end; all of it may
// be done already.
func (r *Rig) heal(ctx context.Context) error {
	if !r.hurt {
		return nil
	}
	for _, n := range r.W.Nodes() {
		if err := n.Plug(ctx); err != nil {
			return err
		}
		_ = n.Unthrottle(ctx)
	}
	r.hurt = false
	return errors.Join(r.Standby.FreePool(ctx), r.gate.Open(), r.primaryGate.Open())
}

func (r *Rig) through(g *world.Gate) map[string]string {
	if r.o.NoGates {
		return map[string]string{}
	}
	return g.Env()
}

func (r *Rig) startPublisher(ctx context.Context) error {
	env := r.through(r.primaryGate)
	maps.Copy(env, map[string]string{"PGRESYNC_GATHER": "0s", "PGRESYNC_LINGER": "5s", "PGRESYNC_LOG_LEVEL": "info"})
	mark := len(r.Primary.Log(world.Primary))
	var err error
	if r.publisher, err = r.Primary.StartSidecar(ctx, world.Primary, env); err != nil {
		return err
	}
	return world.Until(ctx, "the primary sidecar to publish", patience, func(context.Context) (bool, string) {
		return len(r.Primary.Logged(world.Primary, mark, "publishes now")) > 0, r.publisher.String()
	})
}

// Follow has the standby's sidecar run with what is special in env, and restarts
// it only if it does not.
func (r *Rig) Follow(ctx context.Context, env map[string]string) error {
	if r.follower != nil && r.follower.Running() {
		if maps.Equal(env, r.env) {
			return nil
		}
		if err := r.follower.Stop(); err != nil {
			return err
		}
	}
	all := r.through(r.gate)
	maps.Copy(all, quick)
	maps.Copy(all, r.o.Follower)
	maps.Copy(all, env)
	mark := len(r.Standby.Log(world.Secondary))
	var err error
	if r.follower, err = r.Standby.StartSidecar(ctx, world.Secondary, all); err != nil {
		return err
	}
	r.env = env
	return world.Until(ctx, "the secondary sidecar to read its journal", patience, func(context.Context) (bool, string) {
		return len(r.Standby.Logged(world.Secondary, mark, "journal read")) > 0, r.follower.String()
	})
}

func (r *Rig) subjects() messages.Subjects { return messages.Subjects{Cluster: world.Cluster} }

// trigger is a person who wants a resync.
func (r *Rig) trigger(context.Context) error { return r.publish(nil) }

// seed is one who wants everything to be copied anew.
func (r *Rig) seed(context.Context) error { return r.publish([]byte(`{"v":1,"full":true}`)) }

func (r *Rig) publish(body []byte) error {
	r.triggered = time.Now()
	if err := r.nc.Publish(r.subjects().TriggerResync(r.Standby.Name), body); err != nil {
		return fmt.Errorf("publish a trigger: %w", err)
	}
	return r.nc.Flush()
}

// Resync asks for one and waits until the standby is well again.
func (r *Rig) Resync(ctx context.Context) error {
	if err := r.trigger(ctx); err != nil {
		return err
	}
	return r.Converge(ctx, patience)
}

// loseSlot is what a standby that was away for too long finds. The resync that
// follows is nobody's wish.
func (r *Rig) loseSlot(ctx context.Context) error {
	r.triggered = time.Time{}
	if err := r.Standby.Unplug(ctx); err != nil {
		return err
	}
	return errors.Join(r.Primary.LoseSlot(ctx, r.Standby), r.Standby.Plug(ctx))
}

// dropSlot drops those that nobody uses: the coming copy's.
func (r *Rig) dropSlot(ctx context.Context) error {
	_, err := r.Primary.SQL(ctx, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'pgresync_%' and not active")
	return err
}

// Renew gives the standby an empty disk, when nothing else helps, and has it
// seeded.
func (r *Rig) Renew(ctx context.Context) error {
	if err := r.Empty(ctx); err != nil {
		return err
	}
	return r.Ready(ctx, 2*patience)
}

// Empty ends the standby and gives it an empty disk.
func (r *Rig) Empty(ctx context.Context) error {
	if err := r.heal(ctx); err != nil {
		return err
	}
	if r.follower != nil {
		r.follower.Kill9()
	}
	if err := r.Standby.Replace(ctx); err != nil {
		return err
	}
	if err := r.Standby.PlantForeign(ctx); err != nil {
		return err
	}
	var err error
	if r.foreign[r.Standby], err = r.Standby.Foreigners(ctx, true); err != nil {
		return err
	}
	r.triggered = time.Time{}
	return nil
}
