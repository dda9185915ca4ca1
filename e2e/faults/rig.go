package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

const (
	scale = 1
	// rate of the load in transactions per second.
	rate = 5
)

// Rig is a primary under load and a standby that streams from it, with their
// sidecars behind gates and a broker of its own.
type Rig struct {
	W                *world.World
	Primary, Standby *world.Node
	Load             *world.Process
	// Say gets a line about what is done, for people.
	Say func(format string, args ...any)

	o                   RigOptions
	publisher, follower *world.Process
	gate, primaryGate   *world.Gate
	env                 map[string]string // special about the follower that runs
	nc                  *nats.Conn
	foreign             map[*world.Node]string
	hurt                bool      // a case has failed, and may have left anything
	good                string    // GUID of the live dataset that was proven last
	triggered           time.Time // when the last trigger was published that must be obeyed
}

// quick are settings for a machine that is emulated, and for tests that wait.
var quick = map[string]string{
	"PGRESYNC_CHECK_INTERVAL": "5s", "PGRESYNC_DEBOUNCE": "2s", "PGRESYNC_CONVERGE_PASSES": "1",
	"PGRESYNC_BACKOFF_MIN": "1s", "PGRESYNC_BACKOFF_MAX": "5s", "PGRESYNC_PROVE_TIMEOUT": "60s",
	"PGRESYNC_RESYNC_BUDGET": "30", "PGRESYNC_LOG_LEVEL": "info", "PGRESYNC_SAME_FAILURE": "8",
}

// RigOptions say what rig to build.
type RigOptions struct {
	// Bin is the directory of the built commands, Out is for logs.
	Bin, Out string
	// Scratch is where the pools lie, "" for a temporary directory.
	Scratch string
	// Documents is the size of what a seed has to move besides pgbench's tables, in
	// bytes; 0 for little.
	Documents int64
	// Idle is for a primary without load.
	Idle bool
	// NoGates has the sidecars call zfs itself, for measurements.
	NoGates bool
	// PoolSize is in bytes; 0 for enough.
	PoolSize int64
	// Follower are settings of the standby's sidecar, over those for quick tests.
	Follower map[string]string
	// Say gets lines for people about what is done, Tail all that the nodes print; Tail
	// may be nil.
	Say  func(format string, args ...any)
	Tail func(node, source, line string)
}

// NewRig builds it and waits until the standby is seeded. After an error nothing
// is left.
func NewRig(ctx context.Context, o RigOptions) (*Rig, error) {
	if o.Documents == 0 {
		o.Documents = 16 << 20
	}
	if o.PoolSize == 0 {
		o.PoolSize = 2 << 30
	}
	w, err := world.New(ctx, world.Options{
		Nodes: []string{"db1", "db2"}, Bin: o.Bin, Out: o.Out, Scratch: o.Scratch, Broker: true, PoolSize: o.PoolSize, Tail: o.Tail,
	})
	if err != nil {
		return nil, err
	}
	r := &Rig{W: w, Primary: w.Node("db1"), Standby: w.Node("db2"), Say: o.Say, o: o, foreign: map[*world.Node]string{}}
	if err := r.build(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close ends it all.
func (r *Rig) Close() error {
	if r.nc != nil {
		r.nc.Close()
	}
	return r.W.Close()
}

func (r *Rig) build(ctx context.Context) (err error) {
	began := time.Now()
	if err := r.Primary.InitPrimary(ctx); err != nil {
		return err
	}
	if err := r.Primary.Fill(ctx, scale, r.o.Documents); err != nil {
		return err
	}
	if _, err := r.Primary.SQL(ctx, "create extension amcheck"); err != nil {
		return err
	}
	for _, n := range r.W.Nodes() {
		if err := n.PlantForeign(ctx); err != nil {
			return err
		}
		if r.foreign[n], err = n.Foreigners(ctx, n == r.Standby); err != nil {
			return err
		}
	}
	if r.gate, err = r.Standby.NewGate(); err != nil {
		return err
	}
	if r.primaryGate, err = r.Primary.NewGate(); err != nil {
		return err
	}
	if r.nc, err = nats.Connect(r.W.BrokerURL(), nats.MaxReconnects(-1)); err != nil {
		return err
	}
	if err := r.Ready(ctx, 2*patience); err != nil {
		return err
	}
	r.Say("the standby was seeded %s after the beginning", time.Since(began).Round(time.Second))
	return nil
}

// Ready starts what does not run, undoes what faults have left, and waits until
// the standby is well.
func (r *Rig) Ready(ctx context.Context, limit time.Duration) error {
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

// loseSlot is what a standby that was away for too long finds.
func (r *Rig) loseSlot(ctx context.Context) error {
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
