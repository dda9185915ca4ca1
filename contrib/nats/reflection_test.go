package nats_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

// The server answers its own API on the subject that the asker names, whether or
// not the asker may publish there: db3 cannot trigger a resync of db2, but it can
// have the answer to its next pull sent to where db2's triggers go. An empty
// answer, "404 No Messages", is stored without its status line and looks like
// `nats pub … ”`; permissions cannot close that, pinned keys do.
func TestAnAnswerLedToATriggerSubjectIsNotObeyed(t *testing.T) {
	t.Parallel()
	w := newSite(t, "account-per-cluster.conf")
	if err := w.bus(t, mine, true).Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := messages.ParseKeys([]string{must(must(nkeys.CreateUser()).PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	dropped := map[error]bool{}
	db2 := w.busWith(t, "secondary-main-db2", func(c *bus.Config) {
		c.Operators = keys
		c.OnAsyncError = func(err error) {
			mu.Lock()
			defer mu.Unlock()
			dropped[messages.ErrUntrusted] = dropped[messages.ErrUntrusted] || errors.Is(err, messages.ErrUntrusted)
			dropped[messages.ErrBadDocument] = dropped[messages.ErrBadDocument] || errors.Is(err, messages.ErrBadDocument)
		}
	})
	obeyed := make(chan messages.TriggerTarget, 1000)
	listen := func(b *bus.Bus, node string, got chan<- messages.TriggerTarget) {
		loop(t, func(ctx context.Context) error {
			return b.Triggers(ctx, "secondary-"+node, []string{main.TriggerResync(node), main.TriggerResync(messages.AllNodes)}, time.Hour,
				func(_ context.Context, to messages.TriggerTarget, _ messages.Trigger, _ time.Time) error {
					got <- to
					return nil
				})
		})
	}
	listen(db2, "db2", obeyed)
	listen(w.bus(t, theirs, false), "db3", make(chan messages.TriggerTarget, 1000))
	attacker := w.client(t, theirs)
	natstest.Eventually(t, patience, "the answers to reach db2", func() error {
		for _, body := range []string{`{"batch":1,"no_wait":true}`, `{"batch":1,"expires":1000000,"idle_heartbeat":100000}`} {
			if err := attacker.PublishMsg(&nats.Msg{
				Subject: "$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main.secondary-db3", Reply: main.TriggerResync("db2"), Data: []byte(body),
			}); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if !dropped[messages.ErrUntrusted] || !dropped[messages.ErrBadDocument] {
			return errors.New("not both kinds yet, with headers and without")
		}
		return nil
	})
	if len(obeyed) > 0 {
		t.Errorf("db3 had db2 obey %d triggers", len(obeyed))
	}
}
