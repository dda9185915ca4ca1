package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgresync/pgresync/e2e/world"
)

// poller reads from a standby all the time, as an application would.
type poller struct {
	cancel context.CancelFunc
	done   chan struct{}
	// Valid once done is closed.
	reads    int
	failures []time.Time
}

func poll(t testing.TB, n *world.Node) *poller {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &poller{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.run(ctx, n)
	}()
	t.Cleanup(p.stop)
	return p
}

func (p *poller) stop() {
	p.cancel()
	<-p.done
}

func (p *poller) run(ctx context.Context, n *world.Node) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var c *pgconn.PgConn
	for {
		if err := read(ctx, n, &c); ctx.Err() != nil {
			break
		} else if err != nil {
			p.failures = append(p.failures, time.Now())
		} else {
			p.reads++
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	if c != nil {
		c.Close(context.WithoutCancel(ctx))
	}
}

func read(ctx context.Context, n *world.Node, c **pgconn.PgConn) (err error) {
	if *c == nil || (*c).IsClosed() {
		if *c, err = n.Connect(ctx); err != nil {
			*c = nil
			return err
		}
	}
	if _, err = world.Query(ctx, *c, "select count(*) from pgbench_branches"); err != nil {
		(*c).Close(ctx)
		*c = nil
	}
	return err
}

// onlyTheSwitchFailed checks that reads failed at no other time than between the
// stop of the old copy and the first answer of the new one, and returns how long
// they did.
func (p *poller) onlyTheSwitchFailed(t testing.TB, stopping, proving world.Line) time.Duration {
	t.Helper()
	p.stop()
	if p.reads == 0 {
		t.Fatal("the poller read nothing at all")
	}
	for _, at := range p.failures {
		// The log has milliseconds; a read may be answered late.
		if at.Before(stopping.At) || at.After(proving.At.Add(5*time.Second)) {
			t.Errorf("a read failed at %s: the switch was from %s to %s", at, stopping.At, proving.At)
		}
	}
	if len(p.failures) == 0 {
		return 0
	}
	return p.failures[len(p.failures)-1].Sub(p.failures[0])
}
