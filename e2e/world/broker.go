package world

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
)

// brokerURL is where a broker of its own listens: beside the bridge, so that no
// node takes it along when it goes.
const (
	brokerHost = "10.77.0.254"
	brokerURL  = "nats://" + natsUser + ":" + natsPassword + "@" + brokerHost + ":4222"
)

// BrokerURL is where the broker is.
func (w *World) BrokerURL() string {
	if w.o.Broker {
		return brokerURL
	}
	return NATSURL
}

// startBroker starts the stock server and waits until it takes connections.
func (w *World) startBroker(ctx context.Context) error {
	p, err := w.here.Start(ctx, "nats-server", nil, filepath.Join(w.o.Bin, "nats-server"),
		"--addr", brokerHost, "--port", "4222", "--jetstream", "--store_dir", filepath.Join(w.o.Scratch, "nats"),
		"--user", natsUser, "--pass", natsPassword)
	if err != nil {
		return err
	}
	return Until(ctx, "the broker", patience, func(ctx context.Context) (bool, string) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(brokerHost, "4222"))
		if err != nil {
			return false, fmt.Sprint(p, err)
		}
		return c.Close() == nil, ""
	})
}
