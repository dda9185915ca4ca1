package faults

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/e2e/world"
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
	well                bool      // a case has ended well, and nothing was done since
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
