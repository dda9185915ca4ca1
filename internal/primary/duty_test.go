package primary

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

type fakeDatabase struct {
	Database
	mu sync.Mutex
	id messages.Identity
}

func (f *fakeDatabase) Identity(context.Context) (messages.Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id, nil
}

type fakeLeases struct {
	mu                  sync.Mutex
	revision            uint64
	err, campaignErr    error
	campaigns, resigned int
}

func (f *fakeLeases) Campaign(context.Context, messages.Lease) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.campaigns++
	if f.campaignErr != nil {
		return 0, f.campaignErr
	}
	f.revision++
	return f.revision, f.err
}

func (f *fakeLeases) Renew(_ context.Context, rev uint64, _ messages.Lease) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, f.err
	}
	if rev != f.revision {
		return 0, messages.ErrLeaseLost
	}
	f.revision++
	return f.revision, nil
}

func (f *fakeLeases) Resign(context.Context, uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resigned++
	return nil
}

// set changes what the fakes answer from now on.
func set(mu *sync.Mutex, change func()) {
	mu.Lock()
	defer mu.Unlock()
	change()
}

// onDuty runs f beside a duty that keeps its lease.
func onDuty(t *testing.T, f func(d *duty, db *fakeDatabase, l *fakeLeases)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := &fakeDatabase{id: messages.Identity{SystemID: 1, Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1}}}
		l := &fakeLeases{}
		d := &duty{cfg: Config{Node: "db1", LeaseTTL: 10 * time.Second}, db: db, lease: l, now: time.Now, log: zerolog.Nop()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.run(ctx, func(bool) {}) }()
		pass(t, time.Second)
		f(d, db, l)
		cancel()
		<-done
	})
}

// pass lets time go by inside the bubble.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func TestDutyIsHeldWhileTheLeaseIsRenewed(t *testing.T) {
	onDuty(t, func(d *duty, _ *fakeDatabase, l *fakeLeases) {
		pass(t, time.Minute)
		if rev, err := d.on(); err != nil || rev != l.revision {
			t.Errorf("after a minute: got revision %d, %v, want %d", rev, err, l.revision)
		}
		if l.campaigns != 1 {
			t.Errorf("campaigns: got %d, want 1", l.campaigns)
		}
	})
}

// remade is a bucket that was made again, with another TTL.
type remade struct {
	fakeLeases
	ttl time.Duration
}

func (r *remade) LeaseTTL() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ttl
}

func TestDutyCountsWithTheTTLOfTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &fakeDatabase{id: messages.Identity{SystemID: 1, Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1}}}
		l := &remade{ttl: time.Minute}
		d := &duty{cfg: Config{Node: "db1", LeaseTTL: time.Minute}, db: db, lease: l, now: time.Now, log: zerolog.Nop()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.run(ctx, func(bool) {}) }()
		pass(t, time.Second)
		set(&l.mu, func() { l.ttl = 5 * time.Second })
		pass(t, 13*time.Second) // the next renewal, by the old one
		set(&l.mu, func() { l.err = messages.ErrUnavailable })
		pass(t, 6*time.Second)
		if _, err := d.on(); !errors.Is(err, messages.ErrNotPrimary) {
			t.Errorf("on duty when the lease has run out: %v", err)
		}
		set(&l.mu, func() { l.err = nil })
		pass(t, 2*time.Second) // a fifth of the new one
		if _, err := d.on(); err != nil {
			t.Errorf("not renewed at the new pace: %v", err)
		}
		cancel()
		<-done
	})
}

func TestDutyEndsAtOnceWhenPostgreSQLIsAStandby(t *testing.T) {
	onDuty(t, func(d *duty, db *fakeDatabase, l *fakeLeases) {
		set(&db.mu, func() { db.id.Role = messages.RoleStandby })
		pass(t, 3*time.Second)
		if _, err := d.on(); !errors.Is(err, messages.ErrNotPrimary) {
			t.Errorf("a standby: got %v, want ErrNotPrimary", err)
		}
		if l.resigned != 1 {
			t.Errorf("lease given up: got %d times, want once", l.resigned)
		}
	})
}

func TestDutyOutlivesAShortOutageOfNATSButNotTheLease(t *testing.T) {
	onDuty(t, func(d *duty, _ *fakeDatabase, l *fakeLeases) {
		set(&l.mu, func() { l.err = messages.ErrUnavailable })
		pass(t, 4*time.Second)
		if _, err := d.on(); err != nil {
			t.Errorf("4 s without NATS: got %v, want to be on duty", err)
		}
		pass(t, 10*time.Second)
		if _, err := d.on(); !errors.Is(err, messages.ErrNotPrimary) {
			t.Errorf("14 s without NATS: got %v, want ErrNotPrimary", err)
		}
	})
}

func TestDutyEndsWhenTheLeaseIsLost(t *testing.T) {
	onDuty(t, func(d *duty, _ *fakeDatabase, l *fakeLeases) {
		set(&l.mu, func() { l.err = messages.ErrRefused }) // somebody on a higher timeline holds it
		pass(t, 3*time.Second)
		if _, err := d.on(); !errors.Is(err, messages.ErrNotPrimary) {
			t.Errorf("got %v, want ErrNotPrimary", err)
		}
	})
}

// A Campaign that is not answered is no word that the lease may be ours still.
func TestALeaseThatIsKnownToBeLostIsNoneWhileItCannotBeTakenAgain(t *testing.T) {
	onDuty(t, func(d *duty, _ *fakeDatabase, l *fakeLeases) {
		set(&l.mu, func() { l.revision, l.campaignErr = 99, messages.ErrUnavailable })
		pass(t, 2*time.Second)
		if _, err := d.on(); !errors.Is(err, messages.ErrLeaseLost) || !errors.Is(err, messages.ErrUnavailable) {
			t.Errorf("got %v, want off duty, and both reasons", err)
		}
		set(&l.mu, func() { l.campaignErr = nil })
		pass(t, 2*time.Second)
		if _, err := d.on(); err != nil {
			t.Errorf("the lease can be taken again: %v", err)
		}
	})
}
