package world

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// brokerURL is where a broker of its own listens: beside the bridge, so that no
// node takes it along when it goes.
const brokerURL = "nats://" + natsUser + ":" + natsPassword + "@10.77.0.254:4222"

// natsURL is where the broker is.
func (w *World) natsURL() string {
	if w.o.Broker {
		return brokerURL
	}
	return NATSURL
}

// startBroker starts the stock server and waits until JetStream answers.
func (w *World) startBroker(ctx context.Context) error {
	p, err := w.here.Start(ctx, "nats-server", nil, filepath.Join(w.o.Bin, "nats-server"),
		"--addr", "10.77.0.254", "--port", "4222", "--jetstream", "--store_dir", filepath.Join(w.o.Scratch, "nats"),
		"--user", natsUser, "--pass", natsPassword)
	if err != nil {
		return err
	}
	return Until(ctx, "the broker", time.Minute, func(ctx context.Context) (bool, string) {
		out, err := w.NATS(ctx, "account", "info")
		return err == nil && p.Running(), fmt.Sprint(out, err, p)
	})
}
