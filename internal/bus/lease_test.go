package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func lease(n messages.NodeName, tl messages.Timeline) messages.Lease {
	return messages.Lease{
		V: 1, Cluster: "main", Node: n, SystemID: 7, Timeline: tl, LSN: 1 << 24,
		Host: string(n) + ".example", Port: 5432, At: time.Now().UTC(),
	}
}

func campaign(t *testing.T, b *bus.Bus, l messages.Lease) uint64 {
	t.Helper()
	rev, err := b.Campaign(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestLeaseRules(t *testing.T) {
	other := func(l messages.Lease) messages.Lease { l.SystemID = 8; return l }
	for what, tc := range map[string]struct {
		holder, next messages.Lease
		refused      string
	}{
		"the same node takes its own lease again":         {lease("db1", 3), lease("db1", 3), ""},
		"the same node after a promotion":                 {lease("db1", 3), lease("db1", 4), ""},
		"the same node on a lower timeline":               {lease("db1", 3), lease("db1", 2), "db1"},
		"another node on the same timeline":               {lease("db1", 3), lease("db2", 3), "db1"},
		"another node on a lower timeline":                {lease("db1", 3), lease("db2", 2), "db1"},
		"another node on a higher timeline":               {lease("db1", 3), lease("db2", 4), ""},
		"another system, even on a higher timeline":       {lease("db1", 3), other(lease("db2", 9)), "system 8"},
		"the same node after initdb, by another systemid": {lease("db1", 3), other(lease("db1", 3)), "system 8"},
	} {
		t.Run(what, func(t *testing.T) {
			s := natstest.Run(t)
			b := node(t, s, "db1")
			first := campaign(t, b, tc.holder)
			rev, err := b.Campaign(t.Context(), tc.next)
			now, at, getErr := b.Lease(t.Context())
			if getErr != nil {
				t.Fatal(getErr)
			}
			if tc.refused != "" {
				wantErr(t, err, messages.ErrRefused)
				if !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("the refusal does not say %q: %v", tc.refused, err)
				}
				if now.Node != tc.holder.Node || at != first {
					t.Errorf("after a refusal the lease is %+v at %d", now, at)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if rev <= first || at != rev || now.Node != tc.next.Node || now.Timeline != tc.next.Timeline {
				t.Errorf("revision %d after %d, lease %+v at %d", rev, first, now, at)
			}
			_, err = b.Renew(t.Context(), first, tc.holder)
			wantErr(t, err, messages.ErrLeaseLost)
			wantErr(t, b.Resign(t.Context(), first), messages.ErrLeaseLost)
		})
	}
}

func TestLeaseIsRenewedByRevisionAndResigned(t *testing.T) {
	b := node(t, natstest.Run(t), "db1")
	if _, _, err := b.Lease(t.Context()); !errors.Is(err, messages.ErrNotFound) {
		t.Fatalf("a free lease: got %v, want ErrNotFound", err)
	}
	rev := campaign(t, b, lease("db1", 1))
	next, err := b.Renew(t.Context(), rev, lease("db1", 1))
	if err != nil || next <= rev {
		t.Fatalf("renew: revision %d after %d, error %v", next, rev, err)
	}
	if err := b.Resign(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Lease(t.Context()); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("a resigned lease: got %v, want ErrNotFound", err)
	}
	if _, err := b.Renew(t.Context(), next, lease("db1", 1)); !errors.Is(err, messages.ErrLeaseLost) {
		t.Errorf("renewal of a resigned lease: got %v, want ErrLeaseLost", err)
	}
	if got := campaign(t, b, lease("db2", 1)); got <= next {
		t.Errorf("the next holder's revision %d is not above %d", got, next)
	}
}

func TestLeaseExpiresAndFencesItsFormerHolder(t *testing.T) {
	b := node(t, natstest.Run(t), "db1", func(c *bus.Config) { c.LeaseTTL = time.Second })
	rev := campaign(t, b, lease("db1", 5))
	var next uint64
	natstest.Eventually(t, patience, "the lease to expire", func() (err error) {
		next, err = b.Campaign(t.Context(), lease("db2", 5))
		return err
	})
	if next <= rev {
		t.Errorf("the new holder's revision %d is not above %d", next, rev)
	}
	_, err := b.Renew(t.Context(), rev, lease("db1", 5))
	wantErr(t, err, messages.ErrLeaseLost)
	if !strings.Contains(err.Error(), "db2") {
		t.Errorf("the error does not name the new holder: %v", err)
	}
}

func TestLeaseThatExpiredUnclaimedIsLostToo(t *testing.T) {
	b := node(t, natstest.Run(t), "db1", func(c *bus.Config) { c.LeaseTTL = time.Second })
	rev := campaign(t, b, lease("db1", 5))
	natstest.Eventually(t, patience, "the lease to expire", func() error {
		if _, _, err := b.Lease(t.Context()); !errors.Is(err, messages.ErrNotFound) {
			return errors.New("still there")
		}
		return nil
	})
	_, err := b.Renew(t.Context(), rev, lease("db1", 5))
	wantErr(t, err, messages.ErrLeaseLost)
}

func TestLeaseHasOneWinnerAmongMany(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[messages.NodeName]uint64{}
	for _, n := range []messages.NodeName{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			rev, err := b.Campaign(t.Context(), lease(n, 1))
			if err != nil && !errors.Is(err, messages.ErrRefused) {
				t.Errorf("node %s: %v", n, err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won[n] = rev
			}
		})
	}
	wg.Wait()
	holder, rev, err := b.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(won) != 1 || won[holder.Node] != rev {
		t.Errorf("winners %v, holder %s at %d", won, holder.Node, rev)
	}
}

func TestLeaseThatCannotBeReadIsNotOverwritten(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	kv, err := s.JetStream(t).KeyValue(t.Context(), names.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), messages.LeaseKey, []byte(`{"v":2}`)); err != nil {
		t.Fatal(err)
	}
	_, err = b.Campaign(t.Context(), lease("db1", 9))
	wantErr(t, err, messages.ErrRefused)
	_, _, err = b.Lease(t.Context())
	wantErr(t, err, messages.ErrBadDocument)
}

func TestLeaseOfAnotherClusterIsRefused(t *testing.T) {
	b := node(t, natstest.Run(t), "db1")
	l := lease("db1", 1)
	l.Cluster = "other"
	_, err := b.Campaign(t.Context(), l)
	wantErr(t, err, messages.ErrBadDocument)
}

func TestLeaseCallsFailWhileTheServerIsAwayAndSurviveIt(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	rev := campaign(t, b, lease("db1", 1))
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := b.Renew(ctx, rev, lease("db1", 1))
	wantErr(t, err, messages.ErrUnavailable)
	s.Start()
	natstest.Eventually(t, patience, "the renewal", func() error {
		_, err := b.Renew(t.Context(), rev, lease("db1", 1))
		if errors.Is(err, messages.ErrLeaseLost) {
			t.Fatalf("a write that was given up while disconnected landed later: %v", err)
		}
		return err
	})
}

// The bucket that an operator makes by the command of Provision's error works.
func TestLeaseInAStockBucket(t *testing.T) {
	s := natstest.Run(t)
	for _, bucket := range []string{names.Bucket(), names.PresenceBucket()} {
		if _, err := s.JetStream(t).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucket, TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	b := node(t, s, "db1")
	rev := campaign(t, b, lease("db1", 1))
	if _, err := b.Renew(t.Context(), rev, lease("db1", 1)); err != nil {
		t.Fatal(err)
	}
}
