package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

// pair is a publisher db1 that holds the lease, and a client on db2.
func pair(t *testing.T, p *publisher) (*natstest.Server, *bus.Bus, *bus.Client) {
	t.Helper()
	s := natstest.Run(t)
	b := node(t, s, "db1")
	p.node = "db1"
	p.rev = campaign(t, b, lease("db1", 1))
	serve(t, s, b, p)
	return s, b, bus.NewClient(node(t, s, "db2"))
}

func TestClientGetsWhatItAsksFor(t *testing.T) {
	_, _, c := pair(t, &publisher{})
	f, err := c.Facts(t.Context())
	if err != nil || f.Node != "db1" {
		t.Fatalf("facts %+v, error %v", f, err)
	}
	m, err := c.Snapshot(t.Context(), 100, time.Minute)
	if err != nil || m.StartLSN != 108 {
		t.Fatalf("manifest %+v, error %v", m, err)
	}
	id := messages.NewResyncID(time.Now())
	slot, err := c.Slot(t.Context(), id, messages.SlotReserve)
	if err != nil || slot.Name != messages.SlotName("db2", id) || slot.RestartLSN != 99 {
		t.Fatalf("slot %+v, error %v", slot, err)
	}
	r, err := c.Stream(t.Context(), messages.StreamRequest{To: 5, From: 4})
	if err != nil || r.To != 5 || r.From != 4 {
		t.Fatalf("record %+v, error %v", r, err)
	}
}

func TestClientSendsItsNodeAndTheLimits(t *testing.T) {
	got := make(chan messages.SnapshotRequest, 1)
	_, _, c := pair(t, &publisher{snapshot: func(_ context.Context, r messages.SnapshotRequest) (*messages.Manifest, error) {
		got <- r
		return manifest("db1", r.MinStartLSN), nil
	}})
	if _, err := c.Snapshot(t.Context(), 100, 90*time.Second); err != nil {
		t.Fatal(err)
	}
	want := messages.SnapshotRequest{V: 1, Cluster: "main", Node: "db2", MinStartLSN: 100, MaxAgeMS: 90000}
	if r := receive(t, got, "the request"); r != want {
		t.Errorf("sent %+v, want %+v", r, want)
	}
}

func TestClientMapsCodesBack(t *testing.T) {
	for what, tc := range map[string]struct{ sent, want error }{
		"not primary":   {messages.ErrNotPrimary, messages.ErrNotPrimary},
		"lease lost":    {messages.ErrLeaseLost, messages.ErrNotPrimary},
		"not found":     {messages.ErrNotFound, messages.ErrNotFound},
		"refused":       {messages.ErrRefused, messages.ErrRefused},
		"unavailable":   {messages.ErrUnavailable, messages.ErrUnavailable},
		"bad request":   {messages.ErrBadDocument, messages.ErrBadDocument},
		"token invalid": {messages.ErrTokenInvalid, messages.ErrTokenInvalid},
		"no space":      {messages.ErrNoSpace, messages.ErrNoSpace},
	} {
		t.Run(what, func(t *testing.T) {
			_, _, c := pair(t, &publisher{stream: func(context.Context, messages.StreamRequest) (*messages.StreamRecord, error) { return nil, tc.sent }})
			_, err := c.Stream(t.Context(), messages.StreamRequest{To: 5})
			wantErr(t, err, tc.want)
			if !strings.Contains(err.Error(), "db1") || !strings.Contains(err.Error(), "stream") {
				t.Errorf("the error does not name node and request: %v", err)
			}
		})
	}
}

func TestClientWithoutALeaseIsUnavailableNotNotFound(t *testing.T) {
	s := natstest.Run(t)
	_, err := bus.NewClient(node(t, s, "db2")).Facts(t.Context())
	wantErr(t, err, messages.ErrUnavailable)
	if errors.Is(err, messages.ErrNotFound) {
		t.Errorf("reads as if a snapshot were gone: %v", err)
	}
}

func TestClientWithoutAnAnswerIsUnavailableAtOnce(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	campaign(t, b, lease("db1", 1)) // holds the lease, and does not serve
	_, err := bus.NewClient(b).Snapshot(t.Context(), 0, 0)
	wantErr(t, err, messages.ErrUnavailable)
}

func TestClientEndsWithItsContext(t *testing.T) {
	entered := make(chan struct{})
	_, _, c := pair(t, &publisher{snapshot: func(ctx context.Context, _ messages.SnapshotRequest) (*messages.Manifest, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { _, err := c.Snapshot(ctx, 0, 0); got <- err }()
	receive(t, entered, "the request")
	cancel()
	wantErr(t, receive(t, got, "the client"), context.Canceled)
}

func TestClientRefusesAnswersThatAreNotForItsQuestion(t *testing.T) {
	for what, tc := range map[string]struct {
		p    publisher
		ask  func(context.Context, *bus.Client) error
		want error
	}{
		"facts of another node": {
			publisher{facts: func(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
				return (&publisher{node: "db9", rev: 99}).someFacts(), nil
			}},
			func(ctx context.Context, c *bus.Client) error { _, err := c.Facts(ctx); return err }, messages.ErrBadDocument,
		},
		"manifest of another system": {
			publisher{snapshot: func(context.Context, messages.SnapshotRequest) (*messages.Manifest, error) {
				m := manifest("db1", 8)
				m.SystemID = 8
				return m, nil
			}},
			func(ctx context.Context, c *bus.Client) error { _, err := c.Snapshot(ctx, 0, 0); return err }, messages.ErrBadDocument,
		},
		"manifest that begins too early": {
			publisher{snapshot: func(context.Context, messages.SnapshotRequest) (*messages.Manifest, error) {
				return manifest("db1", 8), nil
			}},
			func(ctx context.Context, c *bus.Client) error { _, err := c.Snapshot(ctx, 9, 0); return err }, messages.ErrBadDocument,
		},
		"slot of another copy": {
			publisher{slot: func(context.Context, messages.SlotRequest) (*messages.SlotReply, error) {
				return &messages.SlotReply{V: 1, Slot: messages.SlotState{Name: "pgresync_db2_00000000000000"}}, nil
			}},
			func(ctx context.Context, c *bus.Client) error {
				_, err := c.Slot(ctx, messages.NewResyncID(time.Now()), messages.SlotReserve)
				return err
			}, messages.ErrBadDocument,
		},
		"stream to another snapshot": {
			publisher{stream: func(context.Context, messages.StreamRequest) (*messages.StreamRecord, error) {
				r := record(6)
				return &r, nil
			}},
			func(ctx context.Context, c *bus.Client) error {
				_, err := c.Stream(ctx, messages.StreamRequest{To: 5})
				return err
			}, messages.ErrStreamMismatch,
		},
	} {
		t.Run(what, func(t *testing.T) {
			_, _, c := pair(t, &tc.p)
			wantErr(t, tc.ask(t.Context(), c), tc.want)
		})
	}
}

func TestClientFollowsTheLeaseToAnotherNode(t *testing.T) {
	s, _, c := pair(t, &publisher{})
	if _, err := c.Facts(t.Context()); err != nil {
		t.Fatal(err)
	}
	b3 := node(t, s, "db3")
	rev := campaign(t, b3, lease("db3", 2))
	serve(t, s, b3, &publisher{node: "db3", rev: rev})
	f, err := c.Facts(t.Context())
	if err != nil || f.Node != "db3" {
		t.Fatalf("facts %+v, error %v", f, err)
	}
}

// A publisher that was deposed and came back answers with the revision of its
// former term.
func TestClientRefusesAnAnswerFromAFormerTerm(t *testing.T) {
	p := &publisher{}
	_, b, c := pair(t, p)
	if _, err := c.Facts(t.Context()); err != nil {
		t.Fatal(err)
	}
	campaign(t, b, lease("db3", 2))
	_, err := c.Facts(t.Context())
	wantErr(t, err, messages.ErrUnavailable) // db3 does not serve
	campaign(t, b, lease("db1", 3))
	_, err = c.Facts(t.Context()) // p.rev is of its first term
	wantErr(t, err, messages.ErrUnavailable)
	if !strings.Contains(err.Error(), "succeeded") {
		t.Errorf("the error does not say why: %v", err)
	}
}

// When the bucket is lost, revisions begin at 1 again; that must not lock the
// standbys out until they restart.
func TestClientAcceptsABucketMadeAnew(t *testing.T) {
	p := &publisher{}
	s, b, c := pair(t, p)
	for range 5 {
		p.rev = campaign(t, b, lease("db1", 1))
	}
	if _, err := c.Facts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.JetStream(t).DeleteKeyValue(t.Context(), names.Bucket()); err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	b3 := node(t, s, "db3")
	rev := campaign(t, b3, lease("db3", 1))
	serve(t, s, b3, &publisher{node: "db3", rev: rev})
	f, err := c.Facts(t.Context())
	if err != nil || f.Node != "db3" || f.Lease >= p.rev {
		t.Fatalf("facts %+v, error %v", f, err)
	}
}
