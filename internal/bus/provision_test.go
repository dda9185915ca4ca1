package bus_test

import (
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func TestProvisionCreatesWithStatedLimits(t *testing.T) {
	s := natstest.Run(t)
	node(t, s, "db1", func(c *bus.Config) { c.MaxEventBytes, c.EventMaxAge = 1<<20, time.Hour })
	js := s.JetStream(t)

	stream, err := js.Stream(t.Context(), names.Stream())
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	if c.MaxBytes != 1<<20 || c.MaxAge != time.Hour || c.MaxMsgsPerSubject != 64 || c.Duplicates != 10*time.Minute || c.Storage != jetstream.FileStorage {
		t.Errorf("event stream: %+v", c)
	}
	for bucket, want := range map[string]struct {
		ttl     time.Duration
		storage jetstream.StorageType
	}{
		names.Bucket():         {time.Minute, jetstream.FileStorage},
		names.PresenceBucket(): {30 * time.Second, jetstream.FileStorage},
	} {
		kv, err := js.KeyValue(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		st, err := kv.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.TTL() != want.ttl || st.Config().Storage != want.storage || st.History() != 1 {
			t.Errorf("bucket %s: ttl %s, storage %s, history %d", bucket, st.TTL(), st.Config().Storage, st.History())
		}
	}
}

func TestProvisionLeavesAlone(t *testing.T) {
	s := natstest.Run(t)
	node(t, s, "db1", func(c *bus.Config) { c.MaxEventBytes, c.LeaseTTL = 1<<20, 45*time.Second })
	b := node(t, s, "db2", func(c *bus.Config) { c.Storage = "memory" })
	stream, err := s.JetStream(t).Stream(t.Context(), names.Stream())
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.MaxBytes != 1<<20 || c.Storage != jetstream.FileStorage {
		t.Errorf("a second node with other settings changed the stream: %+v", c)
	}
	if got := b.LeaseTTL(); got != 45*time.Second {
		t.Errorf("LeaseTTL %s, want that of the existing bucket", got)
	}
}

func TestProvisionWithoutTheRightNamesTheCommand(t *testing.T) {
	s := natstest.Run(t)
	cfg := config(s.URL(), "db1")
	cfg.Provision = false
	err := join(t, cfg).Provision(t.Context())
	wantErr(t, err, messages.ErrNotFound)
	for _, want := range []string{"nats stream add PGRESYNC_main", "nats kv add pgresync-main ", "nats kv add pgresync-main_nodes "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestProvisionRefusesWhatDoesNotFit(t *testing.T) {
	fits := jetstream.StreamConfig{
		Name: names.Stream(), Subjects: []string{names.Events(), names.Triggers()},
		Discard: jetstream.DiscardOld, Storage: jetstream.MemoryStorage,
	}
	for what, change := range map[string]func(*jetstream.StreamConfig){
		"trigger.>":        func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] },
		"discard":          func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew },
		"retention":        func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"greatest message": func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1024 },
		"duplicate window": func(c *jetstream.StreamConfig) { c.Duplicates = time.Second },
		"acknowledge":      func(c *jetstream.StreamConfig) { c.NoAck = true },
	} {
		t.Run(what, func(t *testing.T) {
			s := natstest.Run(t)
			have := fits
			have.Subjects = append([]string{}, fits.Subjects...)
			change(&have)
			if _, err := s.JetStream(t).CreateStream(t.Context(), have); err != nil {
				t.Fatal(err)
			}
			err := join(t, config(s.URL(), "db1")).Provision(t.Context())
			wantErr(t, err, messages.ErrRefused)
			if !strings.Contains(err.Error(), what) {
				t.Errorf("the error does not say %q: %v", what, err)
			}
		})
	}
}

func TestProvisionRefusesALeaseBucketWhoseRecordsNeverExpire(t *testing.T) {
	s := natstest.Run(t)
	if _, err := s.JetStream(t).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: names.Bucket()}); err != nil {
		t.Fatal(err)
	}
	err := join(t, config(s.URL(), "db1")).Provision(t.Context())
	wantErr(t, err, messages.ErrRefused)
	if !strings.Contains(err.Error(), "TTL") {
		t.Errorf("the error does not mention the TTL: %v", err)
	}
}

func TestProvisionRefusesAServerWithASmallMaxPayload(t *testing.T) {
	s := natstest.Run(t, func(o *natsserver.Options) { o.MaxPayload = 65536 })
	err := join(t, config(s.URL(), "db1")).Provision(t.Context())
	wantErr(t, err, messages.ErrRefused)
	if !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("the error does not name the setting: %v", err)
	}
}

func TestProvisionOutlastsARestart(t *testing.T) {
	s := natstest.Run(t)
	b := join(t, config(s.URL(), "db1"))
	s.Stop()
	got := make(chan error, 1)
	go func() { got <- b.Provision(t.Context()) }()
	s.Start()
	if err := receive(t, got, "Provision"); err != nil {
		t.Fatal(err)
	}
}

func TestProvisionRefusesAMemoryStreamItCouldNotMakeAgain(t *testing.T) {
	s := natstest.Run(t)
	node(t, s, "db1", func(c *bus.Config) { c.Storage = "memory" })
	cfg := config(s.URL(), "db2")
	cfg.Provision = false
	err := join(t, cfg).Provision(t.Context())
	wantErr(t, err, messages.ErrRefused)
	if !strings.Contains(err.Error(), "file storage") {
		t.Errorf("the error does not name the remedy: %v", err)
	}
}

// With memory storage a restart of the server takes streams and buckets away.
func TestWhatWasLostIsMadeAgain(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2", func(c *bus.Config) { c.Storage = "memory" })
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	campaign(t, b, lease("db1", 1))
	for _, write := range []func() error{
		func() error { _, err := b.Campaign(t.Context(), lease("db1", 1)); return err },
		func() error { return b.PutStatus(t.Context(), status("db1", "primary")) },
		func() error { return b.PutStream(t.Context(), record(5)) },
		func() error { return b.Publish(t.Context(), event("x")) },
	} {
		s.Restart()
		natstest.Eventually(t, patience, "the write", write)
	}
	s.Restart() // now it is the loop alone that misses the stream
	idle(t, s, "db2-triggers")
	pub(t, s, names.TriggerResync("db2"), "")
	receive(t, commands, "the trigger")
}

// The bucket that was lost is made again by whoever is first, with its TTL; the others
// count with that.
func TestLeaseTTLIsThatOfTheBucketMadeAgain(t *testing.T) {
	s := natstest.Run(t)
	memory := func(ttl time.Duration) func(*bus.Config) {
		return func(c *bus.Config) { c.Storage, c.LeaseTTL = "memory", ttl }
	}
	b, other := node(t, s, "db1", memory(45*time.Second)), node(t, s, "db2", memory(20*time.Second))
	campaign(t, b, lease("db1", 1))
	if b.LeaseTTL() != 45*time.Second || other.LeaseTTL() != 45*time.Second {
		t.Fatalf("TTLs are %s and %s, want that of the first", b.LeaseTTL(), other.LeaseTTL())
	}
	s.Restart()
	natstest.Eventually(t, patience, "the other to write", func() error { return other.PutStream(t.Context(), record(5)) })
	if got := other.LeaseTTL(); got != 20*time.Second {
		t.Errorf("the one that made the bucket counts with %s", got)
	}
	natstest.Eventually(t, patience, "the lease", func() error { _, err := b.Campaign(t.Context(), lease("db1", 1)); return err })
	if got := b.LeaseTTL(); got != 20*time.Second {
		t.Errorf("the one that found it counts with %s", got)
	}
}
