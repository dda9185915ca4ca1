package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

const (
	// callTimeout bounds one exchange with the server.
	callTimeout = 5 * time.Second
	// dialTimeout bounds one attempt to reach one server.
	dialTimeout = 3 * time.Second
	// drainTimeout bounds Close, per connection.
	drainTimeout = 5 * time.Second
)

// Bus is one sidecar's link to NATS. All methods are safe for concurrent use.
type Bus struct {
	cfg     Config
	names   messages.Subjects
	control *link
	bulk    *link
	js      jetstream.JetStream // on control
	bulkJS  jetstream.JetStream
	denials denials

	mu      sync.Mutex
	buckets map[string]jetstream.KeyValue
	ttl     time.Duration
	// reported are the keys of records that are not where they belong.
	reported map[string]bool
}

// link is one connection and what must be released with it.
type link struct {
	nc     *nats.Conn
	ready  atomic.Pointer[nats.Conn] // nc, for the dialer, which runs beside dial
	closed chan struct{}
	stop   context.CancelFunc // ends dialling
}

// Connect opens the two connections, trying again until ctx is done while no
// server answers; a refused login ends it at once (ErrPermission). From then on
// both reconnect for ever. The bulk data has a connection of its own, so that a
// lease renewal never waits behind 16 MiB of parts. Call Close at the end.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	b := &Bus{
		cfg: cfg, names: messages.Subjects{Cluster: cfg.Cluster},
		buckets: map[string]jetstream.KeyValue{}, ttl: cfg.LeaseTTL, reported: map[string]bool{},
	}
	if err := b.open(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("connect to NATS at %s: %w", cfg.hosts(), err)
	}
	return b, nil
}

func (b *Bus) open(ctx context.Context) (err error) {
	if b.control, err = b.dial(ctx, "control"); err != nil {
		return err
	}
	if b.bulk, err = b.dial(ctx, "bulk"); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.control.nc, jetstream.WithDefaultTimeout(callTimeout)); err != nil {
		return err
	}
	b.bulkJS, err = jetstream.New(b.bulk.nc, jetstream.WithDefaultTimeout(callTimeout))
	return err
}

// dial makes one connection.
func (b *Bus) dial(ctx context.Context, name string) (*link, error) {
	dialCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &link{closed: make(chan struct{}), stop: stop}
	opts, err := b.options(dialCtx, name, l)
	if err != nil {
		stop()
		return nil, err
	}
	release := context.AfterFunc(ctx, stop)
	l.nc, err = b.dialUntil(ctx, opts)
	l.ready.Store(l.nc)
	if !release() && err == nil {
		err = ctx.Err()
		l.nc.Close()
	}
	if err != nil {
		stop()
		return nil, err
	}
	return l, nil
}

func (b *Bus) dialUntil(ctx context.Context, opts []nats.Option) (*nats.Conn, error) {
	options := nats.GetDefaultOptions()
	options.Servers = b.cfg.URLs
	for _, o := range opts {
		if err := o(&options); err != nil {
			return nil, err // a file that cannot be read, mostly
		}
	}
	wait := newBackoff(100*time.Millisecond, 2*time.Second)
	for {
		nc, err := options.Connect()
		if err == nil {
			return nc, nil
		}
		if err = classify(err); errors.Is(err, messages.ErrPermission) {
			return nil, fmt.Errorf("%w (check user, password, token, credentials or nkey file, and the server's permissions)", err)
		}
		if wait.sleep(ctx) != nil {
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

func (b *Bus) options(dialCtx context.Context, name string, l *link) ([]nats.Option, error) {
	c := &b.cfg
	once := sync.OnceFunc(func() { close(l.closed) })
	opts := []nats.Option{
		nats.Name(fmt.Sprintf("pgresync-%s %s/%s %s", c.Sidecar, c.Cluster, c.Node, name)),
		nats.CustomInboxPrefix(c.InboxPrefix),
		nats.Timeout(dialTimeout),
		nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
			// The library's own dialer knows no context: a black-holed server would hold
			// up shutdown.
			d := net.Dialer{Timeout: dialTimeout}
			conn, err := d.DialContext(dialCtx, network, address)
			if err == nil && c.NKeyFile != "" {
				l.renewNKey(c)
			}
			return conn, err
		})),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// Without it two refused logins in a row close the connection for good; an
		// operator may be rotating credentials.
		nats.IgnoreAuthErrorAbort(),
		// A write held back while disconnected would land after its caller gave it up;
		// for a lease that is worse than an error.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(drainTimeout),
		nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { b.asyncError(name, sub, err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.OnConnection(name, false, err) }),
		nats.ReconnectHandler(func(*nats.Conn) { c.OnConnection(name, true, nil) }),
		nats.ClosedHandler(func(*nats.Conn) { once() }),
	}
	login, err := c.login()
	return append(opts, login...), err
}

type dialer func(network, address string) (net.Conn, error)

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

// Close drains both connections, at most a few seconds each, and waits until
// they are closed. Loops should have ended before.
func (b *Bus) Close() {
	for _, l := range []*link{b.control, b.bulk} {
		if l != nil {
			l.close()
		}
	}
}

func (l *link) close() {
	defer l.stop()
	if err := l.nc.Drain(); err != nil {
		l.stop() // Drain closed it already: not connected now
	}
	bound := time.NewTimer(drainTimeout + time.Second)
	defer bound.Stop()
	select {
	case <-l.closed:
	case <-bound.C:
		l.nc.Close()
		<-l.closed
	}
}

// JetStream is on the bulk connection, for internal/stream.
func (b *Bus) JetStream() jetstream.JetStream { return b.bulkJS }

// Ready reports which of the connections are down now, for a health check.
func (b *Bus) Ready() error {
	for name, l := range map[string]*link{"control": b.control, "bulk": b.bulk} {
		if !l.nc.IsConnected() {
			return fmt.Errorf("NATS %s connection to %s: %w: %s", name, b.cfg.hosts(), messages.ErrUnavailable, l.nc.Status())
		}
	}
	return nil
}
