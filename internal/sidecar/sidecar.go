// Package sidecar is what the two sidecars' wiring has in common: the link to
// NATS, the supervised loops, health and the service manager's notifications.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/metrics"
	"github.com/pgresync/pgresync/internal/page"
	"github.com/pgresync/pgresync/messages"
)

// Connect is bus.Connect as configured, with the keys that are trusted, for a command
// beside the sidecar. What it asks for is signed with the seed in the file
// operatorSeed, of PGRESYNC_OPERATOR_SEED_FILE; "" for the node's own. What is not
// verified is said once.
func Connect(ctx context.Context, c *settings.Common, name string, urls []string, operatorSeed string, log zerolog.Logger) (*bus.Bus, error) {
	seed := seedOf(c)
	if operatorSeed != "" {
		// Who calls the command need not be able to read the other one.
		seed = seedFile{"PGRESYNC_OPERATOR_SEED_FILE", operatorSeed}
	}
	cfg, err := withKeys(c, seed, BusConfig(c, name, urls, 0, log), log)
	if err != nil {
		return nil, err
	}
	return bus.Connect(ctx, cfg)
}

// Start is bus.Connect for a service, and provision, until it has succeeded. The
// service manager hears that it has started before the wait for NATS, which may be
// long: what keeps it from ever working has been found by then, and neither a boot
// nor `systemctl start` is to hang on another host. HTTP is answered meanwhile.
func Start(ctx context.Context, c *settings.Common, name string, urls []string, leaseTTL time.Duration, log zerolog.Logger, provision Provision) (*bus.Bus, error) {
	cfg, err := withKeys(c, seedOf(c), BusConfig(c, name, urls, leaseTTL, log), log)
	if err != nil {
		return nil, err
	}
	notify := notifier()
	tell(log, errors.Join(notify.Status(ctx, "waits for NATS"), notify.Ready(ctx)))
	return startServing(ctx, c.HTTPListen, cfg, log, provision)
}

// seedFile is a file with the seed of a key that signs, and the setting that names it.
type seedFile struct{ setting, path string }

func seedOf(c *settings.Common) seedFile {
	return seedFile{"PGRESYNC_SIGNING_SEED_FILE", c.SigningSeedFile}
}

func withKeys(c *settings.Common, seed seedFile, cfg bus.Config, log zerolog.Logger) (bus.Config, error) {
	var err error
	if seed.path != "" {
		if cfg.Signer, err = bus.LoadSigner(seed.path); err != nil {
			return cfg, daemon.WithExitCode(fmt.Errorf("%s: %w", seed.setting, err), daemon.ExitUsage)
		}
	}
	if cfg.Publishers, err = messages.ParseKeys(c.TrustedKeys); err == nil {
		cfg.Operators, err = messages.ParseKeys(c.TriggerKeys)
	}
	if err != nil {
		return cfg, daemon.WithExitCode(err, daemon.ExitUsage)
	}
	if cfg.Sidecar == messages.SidecarPrimary && cfg.Signer == nil {
		log.Warn().Msg("what this node publishes is not signed: set PGRESYNC_SIGNING_SEED_FILE")
	}
	if len(cfg.Publishers) == 0 {
		log.Warn().Msg("documents are not verified, whoever may write to NATS is believed: set PGRESYNC_TRUSTED_KEYS")
	}
	if len(cfg.Operators) == 0 {
		log.Warn().Msg("triggers are not verified, whoever may write to NATS is obeyed: set PGRESYNC_TRIGGER_KEYS")
	}
	return cfg, nil
}

func notifier() *daemon.Notifier { return daemon.NewNotifier(os.Getenv, os.Getpid()) }

// BusConfig is the link to NATS as configured; urls replace the configured ones
// when the server is embedded. leaseTTL is the publisher's, 0 for a standby.
func BusConfig(c *settings.Common, name string, urls []string, leaseTTL time.Duration, log zerolog.Logger) bus.Config {
	n := c.NATS
	return bus.Config{
		Cluster: c.Cluster, Node: c.Node, Sidecar: name, Version: daemon.Version(),
		URLs: urls, CredsFile: n.Creds, NKeyFile: n.Nkey, User: n.User, Password: n.Password.Reveal(), Token: n.Token.Reveal(),
		PasswordFile: n.PasswordFile, TokenFile: n.TokenFile, InboxPrefix: n.InboxPrefix,
		CAFile: n.CA, CertFile: n.Cert, KeyFile: n.Key,
		Provision: n.Provision, Replicas: n.Replicas, Storage: n.Storage, LeaseTTL: leaseTTL,
		OnAsyncError: func(err error) { log.Warn().Err(err).Msg("nats") },
		OnConnection: func(connection string, up bool, reason error) {
			log.Info().Err(reason).Str("connection", connection).Bool("up", up).Msg("nats connection")
		},
	}
}

// Loop is one part of a sidecar that runs until its context is done.
type Loop struct {
	Name string
	Run  func(ctx context.Context) error
}

// Views are what a sidecar shows of itself.
type Views struct {
	Metrics *metrics.Metrics
	Page    *page.Page
	// Brief is one line for the service manager's status.
	Brief func() string
}

// Observe shows an event of this node.
func (v Views) Observe(e messages.Event) {
	v.Metrics.Observe(e)
	v.Page.Observe(e)
}

// Run keeps every loop going until ctx is done or one of them fails for good, and
// serves HTTP and the service manager meanwhile.
func Run(ctx context.Context, log zerolog.Logger, c *settings.Common, link *bus.Bus, v Views, loops ...Loop) error {
	health := &daemon.Health{}
	notify := notifier()
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range loops {
		g.Go(func() error { return daemon.Keep(ctx, log, l.Name, l.Run, daemon.KeepOptions{}) })
	}
	g.Go(func() error { return watchLink(ctx, health, link) })
	g.Go(func() error { return notify.Watchdog(ctx, func() bool { return true }) })
	g.Go(func() error { return daemon.TellStatus(ctx, notify, v.Brief) })
	if c.HTTPListen != "" {
		g.Go(func() error { return v.Metrics.Run(ctx) })
		g.Go(func() error { return daemon.Keep(ctx, log, "page", v.Page.Run, daemon.KeepOptions{}) })
		g.Go(func() error {
			return daemon.Serve(ctx, c.HTTPListen, routes(health, v), func(a net.Addr) { log.Info().Stringer("address", a).Msg("http") })
		})
	}
	err := g.Wait()
	tell(log, notify.Stopping(context.WithoutCancel(ctx)))
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func routes(health *daemon.Health, v Views) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/livez", health.Handler())
	mux.Handle("/readyz", health.Handler())
	mux.Handle("GET /metrics", v.Metrics.Handler())
	mux.Handle("/", v.Page.Handler())
	return mux
}

// tell: a service manager that does not listen is no reason to stop.
func tell(log zerolog.Logger, err error) {
	if err != nil {
		log.Debug().Err(err).Msg("notify the service manager")
	}
}

func watchLink(ctx context.Context, health *daemon.Health, link *bus.Bus) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		health.Set("nats", link.Ready())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
