package sidecar

import (
	"context"
	"errors"
	"net/http"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
)

// Provision makes or checks what a sidecar needs of NATS. It is repeated until it
// succeeds or its error is permanent (daemon.Permanent).
type Provision func(ctx context.Context, link *bus.Bus) error

// startServing connects and provisions, and serves /livez and /readyz on address, if
// there is one, as long as that takes: whoever restarts what does not answer would
// only make it longer. The address is free again when it returns.
func startServing(ctx context.Context, address string, cfg bus.Config, log zerolog.Logger, provision Provision) (*bus.Bus, error) {
	health := &daemon.Health{}
	g, inner := errgroup.WithContext(ctx)
	inner, done := context.WithCancel(inner)
	defer done()
	if address != "" {
		g.Go(func() error { return daemon.Serve(inner, address, waitingRoutes(health), nil) })
	}
	var link *bus.Bus
	g.Go(func() (err error) {
		defer done()
		health.Set("nats", errors.New("waits for the first connection"))
		if link, err = bus.Connect(inner, cfg); err != nil {
			return err
		}
		return daemon.Keep(inner, log, "provision", func(ctx context.Context) error {
			err := provision(ctx, link)
			health.Set("nats", err)
			return err
		}, daemon.KeepOptions{})
	})
	// An end that was asked for is none of Keep's errors.
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		if link != nil {
			link.Close()
		}
		return nil, err
	}
	return link, nil
}

// waitingRoutes has no page and no metrics: there is nothing to show yet.
func waitingRoutes(health *daemon.Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/livez", health.Handler())
	mux.Handle("/readyz", health.Handler())
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the sidecar waits for NATS", http.StatusServiceUnavailable)
	})
	return mux
}
