package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// ErrStale says that a trigger was older than its receiver's limit or past
// its own expiry, and was not obeyed.
var ErrStale = errors.New("trigger is stale and was not obeyed")

// classes maps what the NATS libraries return to the words of this module. The
// first match counts.
var classes = []struct {
	is   []error
	then error
}{
	{[]error{nats.ErrPermissionViolation, nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired}, messages.ErrPermission},
	{[]error{
		jetstream.ErrKeyNotFound, jetstream.ErrKeyDeleted, jetstream.ErrBucketNotFound,
		jetstream.ErrStreamNotFound, jetstream.ErrConsumerNotFound,
	}, messages.ErrNotFound},
	{[]error{
		nats.ErrNoResponders, nats.ErrTimeout, context.DeadlineExceeded, nats.ErrNoServers,
		nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrConnectionDraining,
		jetstream.ErrNoStreamResponse, jetstream.ErrNoHeartbeat, jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown,
		jetstream.ErrJetStreamNotEnabled,
	}, messages.ErrUnavailable},
}

// errNotConnected is what the library has no word for: connections buffer nothing while
// they are down (connect.go), and what it then says is that too little room is left.
var errNotConnected = errors.New("not connected to NATS")

// classify adds the sentinel that err belongs to, if any.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, nats.ErrReconnectBufExceeded) && !errors.Is(err, errNotConnected) {
		err = fmt.Errorf("%w: %w", errNotConnected, err)
	}
	for _, c := range classes {
		for _, target := range c.is {
			if errors.Is(err, target) {
				return withSentinel(c.then, err)
			}
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch {
		case slices.Contains([]jetstream.ErrorCode{codeMaxBytes, codeNoStorage, codeNoMemory}, api.ErrorCode):
			return withSentinel(messages.ErrNoSpace, err)
		case api.Code == 503:
			return withSentinel(messages.ErrUnavailable, err)
		}
	}
	return err
}

// JetStream error codes without a name in nats.go (nats-server
// server/errors.json).
const (
	codeMaxBytes  jetstream.ErrorCode = 10077 // JSStreamStoreFailedF, discard new at a limit
	codeNoStorage jetstream.ErrorCode = 10047 // JSStorageResourcesExceededErr
	codeNoMemory  jetstream.ErrorCode = 10028 // JSMemoryResourcesExceededErr
)

func withSentinel(sentinel, err error) error {
	if errors.Is(err, sentinel) {
		return err
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

// denials remembers the latest denied permission: the server answers a denied
// publish with silence, so that the call itself only ever sees a timeout
// (nats-server sends -ERR on the connection, without a request's id).
type denials struct {
	mu   sync.Mutex
	last error
	at   time.Time
}

func (d *denials) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.at = err, time.Now()
}

func (d *denials) since(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at.Before(t) {
		return nil
	}
	return d.last
}

// asyncError receives what the library cannot return to a caller.
func (b *Bus) asyncError(connection string, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		b.denials.add(err)
	}
	subject := ""
	if sub != nil {
		subject = " subscription " + sub.Subject
	}
	b.cfg.OnAsyncError(fmt.Errorf("NATS %s connection%s: %w", connection, subject, classify(err)))
}

// call runs one exchange with a deadline of its own and explains its error.
func (b *Bus) call(ctx context.Context, f func(ctx context.Context) error) error {
	begin := time.Now()
	return b.explain(begin, withDeadline(ctx, callTimeout, f))
}

// explain classifies the error of an exchange. For one that timed out, a
// permission denied meanwhile is the likely cause.
func (b *Bus) explain(begin time.Time, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
		return classify(err)
	}
	if denied := b.denials.since(begin); denied != nil {
		return fmt.Errorf("%w: %w (grant it to this user in the NATS server's configuration)", messages.ErrPermission, denied)
	}
	return classify(err)
}

func withDeadline(ctx context.Context, d time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}
