package stream_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
)

// Leaders that change in mid-stream are where ObjectStore.Put of nats.go
// reports success for objects that it corrupted.
func TestClusterChangesLeadersInMidStream(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	nodes := natstest.Cluster(t, 3)
	w := startWorld(t, nodes.Servers[0], func(c *stream.Config) { c.Replicas, c.BucketReplicas = 3, 3 })
	o := &opener{data: noise(60*w.cfg.PartSize, 1)}
	rec := w.join(2, "db2", o.open)
	reader, err := stream.NewReader(nodes.JetStream(t, stream.ConnectOptions()...), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, err = reader.Read(t.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		for range 3 {
			if _, err := io.CopyN(&got, r, int64(10*w.cfg.PartSize+100)); err != nil {
				return err
			}
			nodes.StepDown(w.js, w.ns.PartsStream())
			nodes.StepDown(w.js, w.bucketStream())
		}
		if _, err := io.CopyN(&got, r, 1000); err != nil {
			return err
		}
		nodes.Leader(w.js, w.bucketStream()).Restart()
		_, err := io.Copy(&got, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got.Bytes(), o.data)
}
