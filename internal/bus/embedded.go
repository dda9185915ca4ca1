package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/pgresync/pgresync/messages"
)

// EmbeddedConfig is a NATS server inside the primary sidecar, for evaluation and
// small set-ups: it goes away with the sidecar, and with the primary's host.
type EmbeddedConfig struct {
	// Listen is "host:port"; port 0 draws a free one.
	Listen string
	// StoreDir holds JetStream's files. It must not lie inside the replicated
	// datasets: the server's writes would become increments.
	StoreDir string
	// MaxStore bounds them in bytes, 4 GiB by default: the primary's disk is not the
	// broker's (I-9).
	MaxStore int64
	// Name of the server, "pgresync" by default.
	Name string
	// Username with Password, or Token: what clients must present.
	Username, Password, Token string
	// AllowAnonymous permits a Listen beyond loopback without a login. Whoever
	// reaches the port can then read the whole database.
	AllowAnonymous bool
	// CertFile and KeyFile turn TLS on; CAFile asks clients for a certificate too.
	CertFile, KeyFile, CAFile string
	// MaxPayload is the greatest message in bytes, 1 MiB by default.
	MaxPayload int32
	// Log receives the server's lines; level is "debug", "info", "warn" or "error".
	// It must be safe for concurrent use. Optional.
	Log func(level, text string)
}

const (
	embeddedMaxStore   = 4 << 30
	embeddedMaxMemory  = 256 << 20
	embeddedMaxPending = 64 << 20
	// embeddedWriteDeadline lets a standby pause for as long as zfs receive does
	// after a large free, without being cut off as a slow consumer.
	embeddedWriteDeadline = 30 * time.Second
	embeddedReady         = 20 * time.Second
)

// Embedded is a running server. It handles no signals; Close ends it.
type Embedded struct {
	server *natsserver.Server
	url    string
	once   sync.Once
}

// StartEmbedded starts the server and waits until it takes connections.
// ErrRefused when it would listen beyond loopback without a login.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server on %s: %w", cfg.Listen, err)
	}
	log := &serverLog{emit: cfg.Log, fatal: make(chan string, 1)}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server on %s: %w", cfg.Listen, err)
	}
	s.SetLoggerV2(log, false, false, false)
	e := &Embedded{server: s}
	if err := e.start(ctx, log); err != nil {
		e.Close()
		return nil, fmt.Errorf("embedded NATS server on %s, store %s: %w", cfg.Listen, cfg.StoreDir, err)
	}
	e.url = clientURL(s.Addr(), cfg.CertFile != "")
	return e, nil
}

// start returns when the server is ready, gave up, or ctx is done.
func (e *Embedded) start(ctx context.Context, log *serverLog) error {
	ctx, cancel := context.WithTimeout(ctx, embeddedReady)
	defer cancel()
	e.server.Start() // returns at once; the listeners are goroutines of the server's
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if e.server.ReadyForConnections(time.Millisecond) {
			return nil
		}
		select {
		case text := <-log.fatal:
			return errors.New(text)
		case <-ctx.Done():
			return fmt.Errorf("%w: it takes no connections: %w", messages.ErrUnavailable, ctx.Err())
		case <-tick.C:
		}
	}
}

// URL is where a client on this host connects, without credentials.
func (e *Embedded) URL() string { return e.url }

// Close stops the server and waits until it has ended.
func (e *Embedded) Close() {
	e.once.Do(func() {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	})
}

func (c *EmbeddedConfig) options() (*natsserver.Options, error) {
	host, portText, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w (want host:port)", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("listen port %q: want 0 to 65535", portText)
	}
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	if c.StoreDir == "" {
		return nil, errors.New("store directory: missing")
	}
	if !c.AllowAnonymous && c.Username == "" && c.Token == "" && !isLoopback(host) {
		return nil, fmt.Errorf("%w: without a user or token anyone who reaches it can read the database (set one, or listen on 127.0.0.1)", messages.ErrRefused)
	}
	opts := &natsserver.Options{
		ServerName: orDefault(c.Name, "pgresync"),
		Host:       host, Port: port,
		Username: c.Username, Password: c.Password, Authorization: c.Token,
		JetStream:          true,
		StoreDir:           c.StoreDir,
		JetStreamMaxStore:  orDefault(c.MaxStore, embeddedMaxStore),
		JetStreamMaxMemory: embeddedMaxMemory,
		// Events and the lease must survive a power loss (nats-server #7564); the bulk
		// bucket opts out by its own persist mode.
		SyncAlways:    true,
		MaxPayload:    orDefault(c.MaxPayload, 1<<20),
		MaxPending:    embeddedMaxPending,
		WriteDeadline: embeddedWriteDeadline,
		NoSigs:        true,
	}
	return opts, c.tls(opts)
}

func (c *EmbeddedConfig) tls(opts *natsserver.Options) (err error) {
	if c.CertFile == "" {
		return nil
	}
	opts.TLS, opts.TLSVerify, opts.TLSTimeout = true, c.CAFile != "", dialTimeout.Seconds()
	opts.TLSConfig, err = natsserver.GenTLSConfig(&natsserver.TLSConfigOpts{
		CertFile: c.CertFile, KeyFile: c.KeyFile, CaFile: c.CAFile, Verify: c.CAFile != "",
	})
	return err
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// clientURL replaces a wildcard address by loopback.
func clientURL(addr net.Addr, secure bool) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "nats://"
	if secure {
		scheme = "tls://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// serverLog hands the server's lines on. Fatalf must not end the process: the
// server calls it when its port is taken.
type serverLog struct {
	emit  func(level, text string)
	fatal chan string
}

func (l *serverLog) log(level, format string, v []any) {
	if l.emit != nil {
		l.emit(level, fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.log("info", format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log("warn", format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log("error", format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log("debug", format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log("debug", format, v) }

func (l *serverLog) Fatalf(format string, v ...any) {
	l.log("error", format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
