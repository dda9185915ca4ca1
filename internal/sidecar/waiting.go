package sidecar

import (
	"context"
	"errors"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
)

// connectServing is bus.Connect, and serves /livez and /readyz on address as long as
// that takes: whoever restarts what does not answer would only make it longer. The
// address is free again when it returns.
func connectServing(ctx context.Context, address string, cfg bus.Config) (*bus.Bus, error) {
	g, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	defer done()
	g.Go(func() error { return daemon.Serve(ctx, address, waitingRoutes(), nil) })
	var link *bus.Bus
	g.Go(func() (err error) {
		defer done()
		link, err = bus.Connect(ctx, cfg)
		return err
	})
	if err := g.Wait(); err != nil {
		if link != nil {
			link.Close()
		}
		return nil, err
	}
	return link, nil
}

// waitingRoutes has no page and no metrics: there is nothing to show yet.
func waitingRoutes() http.Handler {
	health := &daemon.Health{}
	health.Set("nats", errors.New("waits for the first connection"))
	mux := http.NewServeMux()
	mux.Handle("/livez", health.Handler())
	mux.Handle("/readyz", health.Handler())
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the sidecar waits for its first connection to NATS", http.StatusServiceUnavailable)
	})
	return mux
}
