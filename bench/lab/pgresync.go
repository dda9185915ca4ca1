package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

const (
	patience = 20 * time.Minute
	natsConf = `
listen: "%s:4222"
write_deadline: "30s"
authorization { user: pgresync, password: lab }
jetstream { store_dir: %q }
`
)

// broker is a nats-server of its own, both sidecars, and their events.
type broker struct {
	c                          *comparison
	server, primary, secondary *world.Process
	nc                         *nats.Conn

	spent []report.Process // when the outcome before this one was taken

	mu     sync.Mutex
	events []messages.Event
}

// since is what the three processes took since it was last asked; the peaks are of
// their whole lives.
func (b *broker) since() (out []report.Process) {
	now := []report.Process{running("nats-server", b.server.PID()), running("primary", b.primary.PID()), running("secondary", b.secondary.PID())}
	for i, p := range now {
		if b.spent != nil {
			p.CPU -= b.spent[i].CPU
		}
		out = append(out, p)
	}
	b.spent = now
	return out
}

// defaults have the sidecars run as they do without the tests' settings.
var defaults = map[string]string{
	"PGRESYNC_NATS_URL": world.NATSURL, "PGRESYNC_LOG_LEVEL": "info", "PGRESYNC_PART_SIZE": "", "PGRESYNC_WINDOW": "",
}

func openBroker(ctx context.Context, c *comparison) (b *broker, err error) {
	b = &broker{c: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close(ctx))
		}
	}()
	conf := filepath.Join(c.db1.Out(), "nats.conf")
	store, err := os.MkdirTemp(c.spool(), "nats-")
	if err != nil {
		return b, err
	}
	if err := os.WriteFile(conf, fmt.Appendf(nil, natsConf, c.db1.Address(), store), 0o600); err != nil {
		return b, err
	}
	if b.server, err = c.db1.Start(ctx, "nats-server", nil, filepath.Join(c.bin, "nats-server"), "-c", conf); err != nil {
		return b, err
	}
	err = world.Until(ctx, "the broker", time.Minute, func(context.Context) (bool, string) {
		var err error
		b.nc, err = nats.Connect(world.NATSURL)
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return b, err
	}
	if _, err := b.nc.Subscribe(messages.Subjects{Cluster: world.Cluster}.Events(), b.take); err != nil {
		return b, err
	}
	env := map[string]string{"PGRESYNC_NATS_LISTEN": "", "PGRESYNC_NATS_USER": "", "PGRESYNC_NATS_PASSWORD": "", "PGRESYNC_NATS_STORE_DIR": ""}
	maps.Copy(env, defaults)
	if b.primary, err = c.db1.StartSidecar(ctx, world.Primary, env); err != nil {
		return b, err
	}
	return b, nil
}

func (b *broker) take(m *nats.Msg) {
	var e messages.Event
	if messages.Decode(m.Data, &e) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

func (b *broker) mark() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.events)
}

func (b *broker) wait(ctx context.Context, what string, mark int, match func(messages.Event) bool) (found messages.Event, err error) {
	err = world.Until(ctx, what, patience, func(context.Context) (bool, string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range b.events[mark:] {
			if match(e) {
				found = e
				return true, ""
			}
		}
		return false, fmt.Sprintf("%d events, none of them this", len(b.events)-mark)
	})
	return found, err
}

// close ends everything, PostgreSQL on db2 with its pool's reset.
func (b *broker) close(ctx context.Context) error {
	var errs []error
	if b.nc != nil {
		b.nc.Close()
	}
	if b.secondary != nil {
		errs = append(errs, b.secondary.Stop())
		_ = b.c.db2.StopServer(ctx) // it need not run
	}
	if b.primary != nil {
		errs = append(errs, b.primary.Stop())
	}
	if b.server != nil {
		b.server.Kill9()
	}
	_, err := b.c.db1.SQL(ctx, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
	return errors.Join(append(errs, err)...)
}

func seedByPgresync(ctx context.Context, c *comparison) (outcome, error) {
	b, err := openBroker(ctx, c)
	if err != nil {
		return outcome{}, err
	}
	c.broker = b
	m := b.mark()
	// The primary needs its lease before anything can begin: not a part of a resync.
	err = world.Until(ctx, "the primary sidecar to publish", patience, func(context.Context) (bool, string) {
		return len(c.db1.Logged(world.Primary, 0, "publishes now")) > 0, b.primary.String()
	})
	if err != nil {
		return outcome{}, err
	}
	if b.secondary, err = c.db2.StartSidecar(ctx, world.Secondary, defaults); err != nil {
		return outcome{}, err
	}
	return b.outcome(ctx, m)
}

func updateByPgresync(ctx context.Context, c *comparison) (outcome, error) {
	b, ns := c.broker, messages.Subjects{Cluster: world.Cluster}
	m := b.mark()
	if err := b.nc.Publish(ns.TriggerSnapshot(), nil); err != nil {
		return outcome{}, err
	}
	_, err := b.wait(ctx, "a snapshot", m, func(e messages.Event) bool { return e.Type == messages.EventSnapshotReady })
	if err != nil {
		return outcome{}, err
	}
	if err := b.nc.Publish(ns.TriggerResync("db2"), nil); err != nil {
		return outcome{}, err
	}
	return b.outcome(ctx, m)
}

// outcome waits until db2 streams again, and reads the report.
func (b *broker) outcome(ctx context.Context, mark int) (outcome, error) {
	e, err := b.wait(ctx, "db2 to stream", mark, func(e messages.Event) bool {
		return e.Node == "db2" && e.Resync != nil && (e.Type == messages.EventRejoined || e.Type == messages.EventNeedsOperator)
	})
	if err != nil {
		return outcome{}, err
	}
	if e.Type != messages.EventRejoined {
		return outcome{}, fmt.Errorf("resync: %s", e.Text)
	}
	o := outcome{seconds: float64(e.Resync.TotalMillis) / 1000, values: map[string]float64{
		"down s": float64(e.Resync.DownMillis) / 1000, "passes": float64(len(e.Resync.Passes)),
	}}
	for _, p := range e.Resync.Passes {
		o.values["bytes"] += float64(p.Bytes)
		o.values["transfer s"] += float64(p.Millis) / 1000
	}
	o.costs = b.since()
	return o, nil
}
