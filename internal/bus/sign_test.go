package bus_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

// signer makes a key pair and loads it as a sidecar would.
func signer(t *testing.T) *messages.Signer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seed")
	write(t, file, nkey(t, nkeys.CreateUser).seed)
	s, err := bus.LoadSigner(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keysOf(t *testing.T, signers ...*messages.Signer) messages.Keys {
	t.Helper()
	var texts []string
	for _, s := range signers {
		texts = append(texts, s.Key)
	}
	keys, err := messages.ParseKeys(texts)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSignedAnswersAreTakenAndOthersRefused(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	for what, tc := range map[string]struct {
		publisher *messages.Signer
		want      error
	}{
		"signed":             {good, nil},
		"unsigned":           {nil, messages.ErrUntrusted},
		"signed by stranger": {signer(t), messages.ErrUntrusted},
	} {
		t.Run(what, func(t *testing.T) {
			// The lease is signed well: it is the answer that is in question.
			holder := node(t, s, "db1", func(c *bus.Config) { c.Signer = good })
			l := lease("db1", 1)
			l.At = time.Now()
			rev := campaign(t, holder, l)
			b := node(t, s, "db1", func(c *bus.Config) { c.Signer = tc.publisher })
			serve(t, s, b, &publisher{node: "db1", rev: rev})
			client := bus.NewClient(node(t, s, "db2", func(c *bus.Config) { c.Publishers = keysOf(t, good) }))
			_, err := client.Facts(t.Context())
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestAnAnswerToAnEarlierQuestionIsRefused(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	b := node(t, s, "db1", func(c *bus.Config) { c.Signer = good })
	l := lease("db1", 1)
	l.At = time.Now()
	rev := campaign(t, b, l)
	stop := serve(t, s, b, &publisher{node: "db1", rev: rev})
	old := request(t, s, "facts", factsRequest)
	stop()
	// In the publisher's place, somebody repeats what it said.
	nc := s.Connect(t)
	if _, err := nc.Subscribe(names.Service("db1", "facts", "db2"), func(m *nats.Msg) { _ = m.Respond(old.Data) }); err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	client := bus.NewClient(node(t, s, "db2", func(c *bus.Config) { c.Publishers = keysOf(t, good) }))
	_, err := client.Facts(t.Context())
	wantErr(t, err, messages.ErrUntrusted)
}

// Headers are under no signature: who stands between can add them to a good answer.
func TestHeadersAloneMakeNoError(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	b := node(t, s, "db1", func(c *bus.Config) { c.Signer = good })
	l := lease("db1", 1)
	l.At = time.Now()
	campaign(t, b, l)
	body := []byte(`{"v":1}`) // an estimate
	asked, nc := names.Service("db1", "estimate", "db2"), s.Connect(t)
	_, err := nc.Subscribe(asked, func(m *nats.Msg) {
		signed, err := good.Seal(asked+" "+m.Reply, body)
		if err != nil {
			t.Error(err)
		}
		_ = m.RespondMsg(&nats.Msg{Data: signed, Header: nats.Header{
			micro.ErrorCodeHeader: {string(bus.CodeTokenInvalid)}, micro.ErrorHeader: {"give it up"},
		}})
	})
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	ask := func(change func(*bus.Config)) error {
		_, err := bus.NewClient(node(t, s, "db2", change)).Estimate(t.Context(), messages.StreamRequest{To: 5})
		return err
	}
	pinned := func(c *bus.Config) { c.Publishers = keysOf(t, good) }
	err = ask(pinned)
	wantErr(t, err, messages.ErrBadDocument)
	if errors.Is(err, messages.ErrTokenInvalid) {
		t.Errorf("the headers were believed: %v", err)
	}
	wantErr(t, ask(func(*bus.Config) {}), messages.ErrTokenInvalid)
	body = []byte(`{"v":1,"ok":false,"code":"token-invalid","error":"it is gone"}`)
	wantErr(t, ask(pinned), messages.ErrTokenInvalid)
}

func TestLeasesMustBeSignedAndFresh(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	reader := node(t, s, "db2", func(c *bus.Config) { c.Publishers = keysOf(t, good) })
	for what, tc := range map[string]struct {
		by   *messages.Signer
		at   time.Time
		want error
	}{
		"fresh":                  {good, time.Now(), nil},
		"an old one put back":    {good, time.Now().Add(-time.Hour), messages.ErrUntrusted},
		"one of the future":      {good, time.Now().Add(time.Hour), messages.ErrUntrusted},
		"unsigned, a downgrade":  {nil, time.Now(), messages.ErrUntrusted},
		"signed by a stranger":   {signer(t), time.Now(), messages.ErrUntrusted},
		"well signed and fresh'": {good, time.Now(), nil},
	} {
		t.Run(what, func(t *testing.T) {
			b := node(t, s, "db1", func(c *bus.Config) { c.Signer = tc.by })
			l := lease("db1", 1)
			l.At = tc.at
			campaign(t, b, l)
			if _, _, err := reader.Lease(t.Context()); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// Who reads leases takes none, and learns of another bucket by them only.
func TestALeaseOfABucketThatWasMadeAgainIsFresh(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	reader := node(t, s, "db2", func(c *bus.Config) { c.Publishers, c.LeaseTTL = keysOf(t, good), 15*time.Second })
	js := s.JetStream(t)
	if err := js.DeleteKeyValue(t.Context(), names.Bucket()); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: names.Bucket(), TTL: 10 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	b := node(t, s, "db1", func(c *bus.Config) { c.Signer = good })
	l := lease("db1", 1)
	l.At = time.Now().Add(-5 * time.Minute)
	campaign(t, b, l)
	if _, _, err := reader.Lease(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestALeaseOfAnotherClusterIsRefused(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	b := node(t, s, "db1", func(c *bus.Config) { c.Signer = good })
	l := lease("db1", 1)
	l.At = time.Now()
	campaign(t, b, l)
	nc := s.Connect(t)
	kv, err := natstest.JetStream(t, nc).KeyValue(t.Context(), names.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), messages.LeaseKey)
	if err != nil {
		t.Fatal(err)
	}
	other := node(t, s, "db2", func(c *bus.Config) { c.Cluster, c.Publishers = "other", keysOf(t, good) })
	body := bytes.Clone(entry.Value())
	if err := nc.Publish("$KV.pgresync-other.lease", body); err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, "the lease to be stored, and refused", func() error {
		if _, _, err := other.Lease(t.Context()); !errors.Is(err, messages.ErrUntrusted) {
			return errors.Join(errors.New("it is not refused as untrusted"), err)
		}
		return nil
	})
}

func TestSignedTriggersAreObeyedOnceAndOthersDropped(t *testing.T) {
	s := natstest.Run(t)
	operator := signer(t)
	var seen faults
	b := node(t, s, "db2", reportTo(&seen), func(c *bus.Config) { c.Operators = keysOf(t, operator) })
	got := make(chan messages.Trigger, 8)
	run(t, func(ctx context.Context) error {
		return b.Triggers(ctx, "secondary-db2", []string{names.TriggerResync("db2"), names.TriggerResync(messages.AllNodes)}, time.Hour,
			func(_ context.Context, _ messages.TriggerTarget, tr messages.Trigger, _ time.Time) error {
				got <- tr
				return nil
			})
	})
	body := func(by *messages.Signer, subject string, life time.Duration) []byte {
		out, err := bus.SignTrigger(by, subject, messages.Trigger{By: "carol"}, time.Now(), life)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	good := body(operator, names.TriggerResync("db2"), time.Minute)
	eternal, err := operator.Seal(names.TriggerResync("db2"), []byte(`{"v":1,"by":"carol"}`))
	if err != nil {
		t.Fatal(err)
	}
	nc := s.Connect(t)
	for _, bad := range [][]byte{
		nil, []byte(`{"v":1}`), // a downgrade
		body(signer(t), names.TriggerResync("db2"), time.Minute),            // a stranger's
		body(operator, names.TriggerResync("db3"), time.Minute),             // for another node
		body(operator, names.TriggerResync(messages.AllNodes), time.Minute), // for all, led here
		body(operator, "pgresync.other.trigger.resync.db2", time.Minute),    // for another cluster
		bytes.Replace(good, []byte("carol"), []byte("mallo"), 1),            // tampered
		body(operator, names.TriggerResync("db2"), 1000*time.Hour), eternal, // without an end
	} {
		send(t, nc, names.TriggerResync("db2"), bad)
	}
	send(t, nc, names.TriggerResync("db2"), good)
	send(t, nc, names.TriggerResync("db2"), good) // a replay
	send(t, nc, names.TriggerResync("db2"), body(operator, names.TriggerResync("db2"), 2*time.Minute))
	for range 2 {
		if tr := receive(t, got, "a signed trigger"); tr.By != "carol" {
			t.Errorf("obeyed %+v", tr)
		}
	}
	if n := seen.count(messages.ErrUntrusted); n != 10 {
		t.Errorf("%d triggers were reported as untrusted, want 10", n)
	}
	select {
	case tr := <-got:
		t.Errorf("obeyed one more: %+v", tr)
	default:
	}
}

func send(t *testing.T, nc *nats.Conn, subject string, body []byte) {
	t.Helper()
	if _, err := nc.Request(subject, body, patience); err != nil {
		t.Fatal(err)
	}
}

func TestForgedManifestsAreDropped(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	var seen faults
	b := node(t, s, "db2", reportTo(&seen), func(c *bus.Config) { c.Publishers = keysOf(t, good) })
	got := make(chan messages.Event, 4)
	run(t, func(ctx context.Context) error {
		return b.Events(ctx, names.EventsOf(messages.EventSnapshotReady), "db2-events", func(_ context.Context, e messages.Event) error { got <- e; return nil })
	})
	idle(t, s, "db2-events") // what was published before it listens it does not hear
	for _, by := range []*messages.Signer{nil, signer(t), good} {
		e := messages.Event{
			V: 1, ID: messages.NewMessageID(time.Now()), Type: messages.EventSnapshotReady, Cluster: "main", Node: "db1",
			At: time.Now(), Text: "x", Snapshot: manifest("db1", 8),
		}
		if err := node(t, s, "db1", func(c *bus.Config) { c.Signer = by }).Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, got, "the signed manifest")
	if n := seen.count(messages.ErrUntrusted); n != 2 {
		t.Errorf("%d manifests were reported as untrusted, want 2", n)
	}
}

func TestASeedThatDoesNotFitIsRefused(t *testing.T) {
	account := filepath.Join(t.TempDir(), "account")
	write(t, account, nkey(t, nkeys.CreateAccount).seed)
	garbage := filepath.Join(t.TempDir(), "garbage")
	write(t, garbage, "SUAHUNTER2")
	for _, file := range []string{account, garbage, filepath.Join(t.TempDir(), "missing")} {
		_, err := bus.LoadSigner(file)
		if err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "HUNTER2") {
			t.Errorf("got %v, want an error that names %s and not what is in it", err, file)
		}
	}
}
