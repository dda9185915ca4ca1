package nats_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

var (
	update = flag.Bool("update", false, "write streams/*.json anew")
	main   = messages.Subjects{Cluster: "main"}
)

func TestTheWholeProtocolWorksInOneAccount(t *testing.T) {
	t.Parallel()
	w := newSite(t, "one-account.conf")
	w.provision(t, "provisioner-main-prov")
	w.provision(t, "provisioner-other-prov")
	w.protocol(t, false)
	w.faults.check(t)
}

func TestTheWholeProtocolWorksInAnAccountPerCluster(t *testing.T) {
	t.Parallel()
	w := newSite(t, "account-per-cluster.conf")
	w.protocol(t, true)
	w.faults.check(t)
}

// protocol is all that sidecars and operators do with NATS.
func (w *site) protocol(t *testing.T, provision bool) {
	t.Helper()
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	pub, snapshots := w.publisher(t, provision, data)
	db2 := w.bus(t, "secondary-main-db2", false)
	if err := db2.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	resyncs := make(chan messages.TriggerTarget, 4)
	loop(t, func(ctx context.Context) error {
		return db2.Triggers(ctx, "secondary-db2", []string{main.TriggerResync("db2"), main.TriggerResync(messages.AllNodes)}, time.Hour,
			func(_ context.Context, to messages.TriggerTarget, _ messages.Trigger, _ time.Time) error {
				resyncs <- to
				return nil
			})
	})
	alice := w.client(t, "operator-read-main-alice")
	events := make(chan *nats.Msg, 16)
	if _, err := alice.ChanSubscribe(main.Events(), events); err != nil || alice.Flush() != nil {
		t.Fatal(err)
	}

	w.ask(t, db2, data)
	if err := db2.PutStatus(t.Context(), messages.NodeStatus{V: 1, Cluster: "main", Node: "db2", Sidecar: "secondary", At: time.Now(), Version: "1"}); err != nil {
		t.Errorf("presence of db2: %v", err)
	}
	event := messages.Event{V: 1, ID: messages.NewMessageID(time.Now()), Type: messages.EventRejoined, Cluster: "main", Node: "db2", At: time.Now(), Text: "back"}
	if err := db2.Publish(t.Context(), event); err != nil {
		t.Errorf("event of db2: %v", err)
	}
	if m := receive(t, events, "an event at the operator's"); !strings.HasPrefix(m.Subject, "pgresync.main.event.") {
		t.Errorf("got %s", m.Subject)
	}
	w.look(t, alice)
	w.command(t)

	carol := w.client(t, "operator-write-main-carol")
	for _, subject := range []string{main.TriggerSnapshot(), main.TriggerResync("db2"), main.TriggerResync(messages.AllNodes)} {
		if _, err := carol.Request(subject, nil, patience); err != nil {
			t.Errorf("trigger %s: %v", subject, err)
		}
	}
	receive(t, snapshots, "the trigger of a snapshot")
	if got := receive(t, resyncs, "a trigger of db2"); got.Node != "db2" {
		t.Errorf("got %+v, want db2's", got)
	}
	if got := receive(t, resyncs, "a trigger of all"); !got.All {
		t.Errorf("got %+v, want everybody's", got)
	}
	if err := pub.Resign(t.Context(), pub.rev); err != nil {
		t.Errorf("resign: %v", err)
	}
}

type publisher struct {
	*bus.Bus
	hub  *stream.Hub
	rev  uint64
	data []byte
}

// publisher is db1's primary sidecar on duty.
func (w *site) publisher(t *testing.T, provision bool, data []byte) (*publisher, <-chan struct{}) {
	t.Helper()
	p := &publisher{Bus: w.bus(t, "primary-main-db1", provision), data: data}
	st, err := stream.NewStore(p.JetStream(), stream.Config{Cluster: "main", PartSize: 1 << 20, Provision: provision})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Provision(t.Context()), st.Provision(t.Context())); err != nil {
		t.Fatal(err)
	}
	p.hub = stream.NewHub(st)
	loop(t, p.hub.Run)
	lease := messages.Lease{V: 1, Cluster: "main", Node: "db1", SystemID: 7, Timeline: 1, Host: "10.0.0.1", Port: 5432, At: time.Now()}
	if p.rev, err = p.Campaign(t.Context(), lease); err == nil {
		p.rev, err = p.Renew(t.Context(), p.rev, lease)
	}
	if err != nil {
		t.Fatal(err)
	}
	status := messages.NodeStatus{V: 1, Cluster: "main", Node: "db1", Sidecar: "primary", At: time.Now(), Version: "1"}
	rec := messages.StreamRecord{
		V: 1, Stream: messages.NewStreamID(2, 1, messages.FlagsPlain, ""), Cluster: "main", Node: "db1", To: 2, From: 1,
		Flags: messages.FlagsPlain, Attempt: messages.NewMessageID(time.Now()), State: messages.StreamRunning, At: time.Now(),
	}
	if err := errors.Join(p.PutStatus(t.Context(), status), p.PutStream(t.Context(), rec)); err != nil {
		t.Errorf("records of db1: %v", err)
	}
	if _, err := p.Nodes(t.Context()); err != nil {
		t.Errorf("nodes: %v", err)
	}
	if _, err := p.Streams(t.Context()); err != nil {
		t.Errorf("streams: %v", err)
	}
	snapshots := make(chan struct{}, 1)
	loop(t, func(ctx context.Context) error {
		return p.Triggers(ctx, "primary", []string{main.TriggerSnapshot()}, time.Hour,
			func(context.Context, messages.TriggerTarget, messages.Trigger, time.Time) error {
				snapshots <- struct{}{}
				return nil
			})
	})
	loop(t, func(ctx context.Context) error { return p.Serve(ctx, p) })
	return p, snapshots
}

func (p *publisher) Facts(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
	return &messages.PrimaryFacts{V: 1, Cluster: "main", Node: "db1", Lease: p.rev, At: time.Now().UTC(), Identity: messages.Identity{
		SystemID: 7, Version: 150018, Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1},
	}}, nil
}

func (p *publisher) Snapshot(context.Context, messages.SnapshotRequest) (*messages.Manifest, error) {
	return nil, messages.ErrBusy
}

func (p *publisher) Slot(_ context.Context, r messages.SlotRequest) (*messages.SlotReply, error) {
	return &messages.SlotReply{V: 1, Slot: messages.SlotState{Name: messages.SlotName(r.Node, r.Resync), RestartLSN: 99}}, nil
}

func (p *publisher) WAL(context.Context, messages.WALRequest) (*messages.WALReply, error) {
	return &messages.WALReply{V: 1}, nil
}

func (p *publisher) Estimate(context.Context, messages.StreamRequest) (*messages.EstimateReply, error) {
	return &messages.EstimateReply{V: 1}, nil
}

func (p *publisher) Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	rec, err := p.hub.Join(ctx, stream.Spec{
		Stream: messages.NewStreamID(r.To, r.From, messages.FlagsPlain, ""), Node: "db1", To: r.To, From: r.From, Flags: messages.FlagsPlain, Lease: p.rev,
	}, r.Node, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.data)), nil })
	return &rec, err
}

// ask makes every request of a standby and reads a stream to its end.
func (w *site) ask(t *testing.T, b *bus.Bus, want []byte) {
	t.Helper()
	client := bus.NewClient(b)
	natstest.Eventually(t, patience, "the publisher's facts", func() error {
		_, err := client.Facts(t.Context())
		return err
	})
	if _, err := client.Slot(t.Context(), messages.NewResyncID(time.Now()), messages.SlotReserve); err != nil {
		t.Errorf("slot: %v", err)
	}
	if _, err := client.Snapshot(t.Context(), 0, 0); !errors.Is(err, messages.ErrUnavailable) {
		t.Errorf("snapshot: got %v, want the publisher's refusal", err)
	}
	rec, err := client.Stream(t.Context(), messages.StreamRequest{To: 12, From: 11})
	if err != nil {
		t.Fatalf("stream: %v", err)
	}
	reader, err := stream.NewReader(b.JetStream(), stream.Config{Cluster: "main"})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := reader.Read(t.Context(), *rec, "db2", nil, func(_ context.Context, r io.Reader) error {
		_, err := io.Copy(&got, r)
		return err
	}); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("read %d bytes of %d: %v", got.Len(), len(want), err)
	}
}

// command is what the operator's command reads.
func (w *site) command(t *testing.T) {
	t.Helper()
	as := func(user string) *bus.Bus {
		return w.busWith(t, user, func(c *bus.Config) { c.Sidecar = bus.SidecarOperator })
	}
	for _, user := range []string{reader, verifier, operator} {
		b := as(user)
		events := 0
		if err := b.History(t.Context(), time.Now().Add(-time.Hour), false, func(messages.Event) error { events++; return nil }); err != nil || events == 0 {
			t.Errorf("history for %s: %d events, %v", user, events, err)
		}
		if seen, err := b.LastSeen(t.Context()); err != nil || seen["db2"].IsZero() {
			t.Errorf("last seen for %s: %v, %v", user, seen, err)
		}
		if nodes, err := b.Nodes(t.Context()); err != nil || len(nodes) != 2 {
			t.Errorf("nodes for %s: %v, %v", user, nodes, err)
		}
		if _, _, err := b.Lease(t.Context()); err != nil {
			t.Errorf("lease for %s: %v", user, err)
		}
	}
	r, err := stream.NewReader(as(verifier).JetStream(), stream.Config{Cluster: "main"})
	if err != nil {
		t.Fatal(err)
	}
	checks, err := r.Verify(t.Context(), messages.NewStreamID(12, 11, messages.FlagsPlain, ""), nil)
	if err != nil || len(checks) != 1 || checks[0].Good == 0 || len(checks[0].Bad) > 0 {
		t.Errorf("verify: %+v, %v", checks, err)
	}
}

// look is what an operator sees with the stock client.
func (w *site) look(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js := natstest.JetStream(t, nc)
	objects, err := js.ObjectStore(t.Context(), main.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	list, err := objects.List(t.Context())
	if err != nil || len(list) == 0 {
		t.Fatalf("object ls: %d objects (%v), want the parts of a lingering stream", len(list), err)
	}
	if _, err := objects.GetInfo(t.Context(), list[0].Name); err != nil {
		t.Errorf("object info: %v", err)
	}
	kv, err := js.KeyValue(t.Context(), main.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), messages.LeaseKey); err != nil {
		t.Errorf("kv get lease: %v", err)
	}
	if keys, err := kv.Keys(t.Context()); err != nil || len(keys) < 2 {
		t.Errorf("kv ls: %v (%v)", keys, err)
	}
	nodes, err := js.KeyValue(t.Context(), main.PresenceBucket())
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := nodes.Keys(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("kv ls of nodes: %v (%v), want db1 and db2", keys, err)
	}
	if _, err := js.Consumer(t.Context(), main.Stream(), "secondary-db2"); err != nil {
		t.Errorf("consumer info: %v", err)
	}
	if _, err := nc.Request("$SRV.INFO.pgresync-primary", nil, patience); err != nil {
		t.Errorf("micro info: %v", err)
	}
}

// The files for provisioners are what a primary that may make streams would make.
func TestStreamFilesAreWhatThePrimaryWouldMake(t *testing.T) {
	t.Parallel()
	w := newSite(t, "account-per-cluster.conf")
	w.publisher(t, true, nil)
	js := natstest.JetStream(t, w.client(t, "operator-read-main-alice"))
	for _, name := range []string{main.Stream(), main.PartsStream(), "OBJ_" + main.Bucket(), "KV_" + main.Bucket(), "KV_" + main.PresenceBucket()} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.Metadata = nil // the server's own
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(cfg); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(strings.ReplaceAll(want.String(), "cluster main", "cluster @CLUSTER@"), "pgresync.main.", "pgresync.@CLUSTER@.")
		text = strings.ReplaceAll(strings.ReplaceAll(text, "PGRESYNC_main", "PGRESYNC_@CLUSTER@"), "pgresync-main", "pgresync-@CLUSTER@")
		file := filepath.Join("streams", strings.ReplaceAll(name, "main", "CLUSTER")+".json")
		if *update {
			if err := os.MkdirAll("streams", 0o755); err != nil {
				t.Fatal(err)
			}
			store(t, file, text)
		}
		if got := load(t, file); got != text {
			t.Errorf("%s is not what a primary makes (run the test with -update):\n%s", file, text)
		}
	}
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}
