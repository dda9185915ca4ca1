package primary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// duty is whether this node publishes: its PostgreSQL is a primary and it holds
// the lease. The lease's revision fences what it publishes.
type duty struct {
	cfg   Config
	db    Database
	lease Leases
	now   Clock
	log   zerolog.Logger

	mu       sync.Mutex
	revision uint64 // 0: off duty
	until    time.Time
	why      error // why it is off duty
	role     messages.Role
}

// on returns the lease's revision, or messages.ErrNotPrimary with the reason.
func (d *duty) on() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// A lease that could not be renewed in time may belong to somebody else.
	if d.revision == 0 || d.now().After(d.until) {
		return 0, fmt.Errorf("node %s: %w: %w", d.cfg.Node, messages.ErrNotPrimary, orUnknown(d.why))
	}
	return d.revision, nil
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("the lease is not held yet")
	}
	return err
}

// run keeps the lease while PostgreSQL is a primary. changed is called when the
// node goes on or off duty.
func (d *duty) run(ctx context.Context, changed func(on bool)) error {
	defer d.resign(ctx)
	every := d.every()
	tick := time.NewTicker(every)
	defer tick.Stop()
	was := false
	for {
		is := d.refresh(ctx)
		if e := d.every(); e != every {
			every = e
			tick.Reset(e)
		}
		if is != was {
			changed(is)
			was = is
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// ttl is the bucket's own where that is known: one that was lost may have been made
// again by a node with another setting.
func (d *duty) ttl() time.Duration {
	if l, ok := d.lease.(interface{ LeaseTTL() time.Duration }); ok {
		return l.LeaseTTL()
	}
	return d.cfg.LeaseTTL
}

// every is between two renewals.
func (d *duty) every() time.Duration { return max(d.ttl()/5, 200*time.Millisecond) }

func (d *duty) refresh(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, d.ttl()/2)
	defer cancel()
	asked := d.now()
	id, err := d.db.Identity(ctx)
	if err != nil {
		return d.off(messages.RoleDown, err)
	}
	if id.Role != messages.RolePrimary {
		d.resign(ctx)
		return d.off(id.Role, errors.New("PostgreSQL is in recovery"))
	}
	l := messages.Lease{
		V: messages.Version, Cluster: d.cfg.Cluster, Node: d.cfg.Node, SystemID: id.SystemID,
		Timeline: id.Timeline.Current, LSN: id.LSN, Host: d.cfg.Host, Port: d.cfg.Port, At: asked.UTC(),
	}
	rev, err := d.renew(ctx, l)
	if err != nil {
		return d.off(id.Role, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revision, d.role, d.why = rev, id.Role, nil
	// Counted from before the request: the server's clock started later.
	d.until = asked.Add(d.ttl())
	return true
}

func (d *duty) renew(ctx context.Context, l messages.Lease) (uint64, error) {
	d.mu.Lock()
	rev := d.revision
	d.mu.Unlock()
	if rev == 0 {
		return d.lease.Campaign(ctx, l)
	}
	next, lost := d.lease.Renew(ctx, rev, l)
	if !errors.Is(lost, messages.ErrLeaseLost) {
		return next, lost
	}
	next, err := d.lease.Campaign(ctx, l)
	if err != nil {
		// That it is lost is known, whatever keeps it from being taken again.
		return 0, fmt.Errorf("%w; take it again: %w", lost, err)
	}
	return next, nil
}

// off records why. A transient failure leaves the lease to run out by itself.
func (d *duty) off(role messages.Role, why error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.role = role
	transient := role != messages.RoleStandby && d.revision != 0 && d.now().Before(d.until) &&
		!errors.Is(why, messages.ErrLeaseLost) && !errors.Is(why, messages.ErrRefused)
	if transient {
		d.log.Debug().Err(why).Msg("lease not renewed, still valid")
		return true
	}
	if d.why == nil || d.why.Error() != why.Error() {
		d.log.Info().Err(why).Str("role", string(role)).Msg("off duty")
	}
	d.revision, d.why = 0, why
	return false
}

func (d *duty) resign(ctx context.Context) {
	d.mu.Lock()
	rev := d.revision
	d.revision = 0
	d.mu.Unlock()
	if rev == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := d.lease.Resign(ctx, rev); err != nil {
		d.log.Debug().Err(err).Msg("lease left to expire")
	}
}

func (d *duty) currentRole() messages.Role {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.role
}
