package stream_test

import (
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

var variants = map[string]func(*stream.Config){
	"file":        func(*stream.Config) {},
	"memory":      func(c *stream.Config) { c.Storage = jetstream.MemoryStorage },
	"file-s2":     func(c *stream.Config) { c.Compression = true },
	"whole-chunk": func(c *stream.Config) { c.PartSize, c.ChunkSize, c.Window = 2*mib, mib, 4*mib },
}

// roundTripOf checks that a variant of the bucket is what was asked for, and that a
// stream gets through it.
func roundTripOf(t *testing.T, server *natstest.Server, name messages.ClusterName, change func(*stream.Config)) {
	t.Helper()
	w := startWorld(t, server, func(c *stream.Config) { c.Cluster = name; change(c) })
	o := &opener{data: noise(5*w.cfg.PartSize+9, 1)}
	got, _, err := w.read(w.join(2, "db2", o.open), "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, got, o.data)
	cfg := w.info(w.bucketStream()).Config
	compression := jetstream.NoCompression
	if w.cfg.Compression {
		compression = jetstream.S2Compression
	}
	if cfg.Storage != w.cfg.Storage || cfg.Compression != compression || cfg.Replicas != max(1, w.cfg.BucketReplicas) {
		t.Errorf("the bucket has storage %s, compression %s, %d replicas", cfg.Storage, cfg.Compression, cfg.Replicas)
	}
}

func TestEveryStorageOnEveryPayload(t *testing.T) {
	for payload, what := range map[int32]string{32 * kib: "32k", mib: "1m", 8 * mib: "8m"} {
		server := natstest.Run(t, func(o *natsserver.Options) { o.MaxPayload = payload })
		for name, change := range variants {
			t.Run(name+"-"+what, func(t *testing.T) {
				roundTripOf(t, server, messages.ClusterName(name+"-"+what), change)
			})
		}
	}
}

func TestEveryStorageWithThreeReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	nodes := natstest.Cluster(t, 3)
	for name, change := range variants {
		t.Run(name, func(t *testing.T) {
			roundTripOf(t, nodes.Servers[0], messages.ClusterName(name), func(c *stream.Config) {
				c.Replicas, c.BucketReplicas = 3, 3
				change(c)
			})
		})
	}
}

// What an operator changes in the configuration is changed on the server, or is an
// error that says what to do.
func TestChangedSettingsReachTheBucket(t *testing.T) {
	w := newWorld(t, nil)
	w.stop()
	w.cfg.Compression, w.cfg.MaxBucket = true, 64*mib
	w.start()
	if cfg := w.info(w.bucketStream()).Config; cfg.Compression != jetstream.S2Compression || cfg.MaxBytes != 64*mib {
		t.Errorf("the bucket still has compression %s and %d bytes", cfg.Compression, cfg.MaxBytes)
	}
	w.cfg.Storage = jetstream.MemoryStorage
	store, err := stream.NewStore(w.js, w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := "nats stream rm OBJ_pgresync-main"
	if err := store.Provision(t.Context()); err == nil || !contains(err, want) {
		t.Errorf("error is %v, want one that says %q", err, want)
	}
}
