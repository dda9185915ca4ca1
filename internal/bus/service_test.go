package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

// publisher is a Service of function fields; a nil one answers well.
type publisher struct {
	node     messages.NodeName
	rev      uint64
	facts    func(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error)
	snapshot func(context.Context, messages.SnapshotRequest) (*messages.Manifest, error)
	slot     func(context.Context, messages.SlotRequest) (*messages.SlotReply, error)
	stream   func(context.Context, messages.StreamRequest) (*messages.StreamRecord, error)
}

func (p *publisher) Facts(ctx context.Context, r messages.FactsRequest) (*messages.PrimaryFacts, error) {
	if p.facts != nil {
		return p.facts(ctx, r)
	}
	return p.someFacts(), nil
}

func (p *publisher) someFacts() *messages.PrimaryFacts {
	return &messages.PrimaryFacts{V: 1, Cluster: "main", Node: p.node, Lease: p.rev, At: time.Now().UTC(), Identity: messages.Identity{
		SystemID: 7, Version: 150018, Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1},
	}}
}

func (p *publisher) Snapshot(ctx context.Context, r messages.SnapshotRequest) (*messages.Manifest, error) {
	if p.snapshot != nil {
		return p.snapshot(ctx, r)
	}
	return manifest(p.node, r.MinStartLSN+8), nil
}

func (p *publisher) Slot(ctx context.Context, r messages.SlotRequest) (*messages.SlotReply, error) {
	if p.slot != nil {
		return p.slot(ctx, r)
	}
	return &messages.SlotReply{V: 1, Slot: messages.SlotState{Name: messages.SlotName(r.Node, r.Resync), RestartLSN: 99}}, nil
}

func (p *publisher) Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	if p.stream != nil {
		return p.stream(ctx, r)
	}
	out := record(r.To)
	out.Node, out.From, out.Lease = p.node, r.From, p.rev
	return &out, nil
}

func (*publisher) WAL(_ context.Context, r messages.WALRequest) (*messages.WALReply, error) {
	return &messages.WALReply{V: 1, Answers: make([]messages.WALAnswer, len(r.Claims))}, nil
}

func (p *publisher) Estimate(context.Context, messages.StreamRequest) (*messages.EstimateReply, error) {
	return &messages.EstimateReply{V: 1, Bytes: 4711, Written: 42}, nil
}

func manifest(n messages.NodeName, start messages.LSN) *messages.Manifest {
	place := messages.Place{Path: "."}
	return &messages.Manifest{
		V: 1, ID: messages.NewSnapshotID(time.Now()), Cluster: "main", Node: n, CreatedAt: time.Now().UTC(), SystemID: 7,
		PGVersion: 150018, Timeline: messages.TimelineHistory{Current: 1}, StartLSN: start, StopLSN: start + 8,
		WALSegmentSize: 16 << 20, BackupLabel: messages.NewBlob([]byte("label")), Flags: messages.FlagsPlain,
		Layout:   messages.Layout{DataDir: place, WALDir: place},
		Datasets: []messages.ManifestDataset{{Kind: messages.KindData, GUID: 1, Travels: true}},
	}
}

// serve runs the service of one node until the test ends and waits until it
// answers.
func serve(t *testing.T, s *natstest.Server, b *bus.Bus, p *publisher) (stop func()) {
	t.Helper()
	stop = run(t, func(ctx context.Context) error { return b.Serve(ctx, p) })
	nc := s.Connect(t)
	natstest.Eventually(t, patience, "the service of "+string(p.node), func() error {
		_, err := nc.Request(names.Service(p.node, "stream", "db2"), nil, time.Second)
		return err
	})
	return stop
}

func request(t *testing.T, s *natstest.Server, endpoint, body string) *nats.Msg {
	t.Helper()
	m, err := s.Connect(t).Request(names.Service("db1", endpoint, "db2"), []byte(body), patience)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const factsRequest = `{"v":1,"cluster":"main","node":"db2"}`

func TestServiceHoldsTheAskerToItsSubject(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	serve(t, s, b, &publisher{node: "db1", slot: func(context.Context, messages.SlotRequest) (*messages.SlotReply, error) {
		t.Error("db3 acted on the slot of db2")
		return nil, messages.ErrRefused
	}})
	m, err := s.Connect(t).Request(names.Service("db1", "slot", "db3"),
		[]byte(`{"v":1,"cluster":"main","node":"db2","resync":"`+string(messages.NewResyncID(time.Now()))+`","action":"release"}`), patience)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get(micro.ErrorCodeHeader); got != string(messages.CodeRefused) {
		t.Errorf("code %q, want %q: %s", got, messages.CodeRefused, m.Data)
	}
}

func TestServiceDoesNotAnswerToSubjectsOfOurs(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	serve(t, s, b, &publisher{node: "db1"})
	rev := campaign(t, b, lease("db1", 1))
	nc := s.Connect(t)
	for _, reply := range []string{"$KV.pgresync-main.lease", names.Event(messages.EventRejoined, "db1")} {
		if err := nc.PublishRequest(names.Service("db1", "facts", "db2"), reply, []byte(factsRequest)); err != nil {
			t.Fatal(err)
		}
	}
	request(t, s, "facts", factsRequest) // is answered after them
	if _, got, err := b.Lease(t.Context()); err != nil || got != rev {
		t.Errorf("the lease is at revision %d (%v), want %d: an answer was written over it", got, err, rev)
	}
}

func TestServiceErrorsInHeadersAndBody(t *testing.T) {
	for what, tc := range map[string]struct {
		err  error
		code messages.ErrorCode
	}{
		"bad document":    {messages.ErrBadDocument, messages.CodeBadRequest},
		"not primary":     {messages.ErrNotPrimary, messages.CodeNotPrimary},
		"lease lost":      {messages.ErrLeaseLost, messages.CodeNotPrimary},
		"not found":       {messages.ErrNotFound, messages.CodeNotFound},
		"refused":         {messages.ErrRefused, messages.CodeRefused},
		"unavailable":     {messages.ErrUnavailable, messages.CodeUnavailable},
		"busy":            {messages.ErrBusy, messages.CodeUnavailable},
		"queued":          {fmt.Errorf("%w: %w", messages.ErrUnavailable, messages.ErrQueued), bus.CodeQueued},
		"out of time":     {context.DeadlineExceeded, messages.CodeUnavailable},
		"token":           {messages.ErrTokenInvalid, bus.CodeTokenInvalid},
		"no space":        {messages.ErrNoSpace, bus.CodeNoSpace},
		"anything else":   {errors.New("boom"), messages.CodeInternal},
		"several lines":   {errors.New("a\r\nNats-Service-Error-Code: x\nb"), messages.CodeInternal},
		"no text":         {errors.New(""), messages.CodeInternal},
		"very long":       {errors.New(strings.Repeat("é", 1<<20)), messages.CodeInternal},
		"not UTF-8":       {errors.New("a\xffb"), messages.CodeInternal},
		"a nil interface": {nil, messages.CodeInternal},
	} {
		t.Run(what, func(t *testing.T) {
			s := natstest.Run(t)
			b := node(t, s, "db1")
			p := &publisher{node: "db1", facts: func(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
				if tc.err == nil {
					return nil, nil //nolint:nilnil // the mistake under test
				}
				return nil, fmt.Errorf("look: %w", tc.err)
			}}
			serve(t, s, b, p)
			m := request(t, s, "facts", factsRequest)
			if got := m.Header.Get(micro.ErrorCodeHeader); got != string(tc.code) {
				t.Errorf("header code %q, want %q", got, tc.code)
			}
			var body messages.ErrorReply
			if err := messages.Decode(m.Data, &body); err != nil {
				t.Fatalf("the body is no error reply: %v: %.200s", err, m.Data)
			}
			if body.OK || body.Code != tc.code || body.Error == "" || body.Error != m.Header.Get(micro.ErrorHeader) {
				t.Errorf("body %+v, header %q", body, m.Header.Get(micro.ErrorHeader))
			}
		})
	}
}

type remedied struct{ error }

func (remedied) Remedy() string { return "do this" }

func TestServiceErrorCarriesARemedy(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	serve(t, s, b, &publisher{node: "db1", facts: func(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
		return nil, fmt.Errorf("look: %w", remedied{messages.ErrRefused})
	}})
	campaign(t, b, lease("db1", 1))
	_, err := bus.NewClient(node(t, s, "db2")).Facts(t.Context())
	var remote *bus.RemoteError
	if !errors.As(err, &remote) || remote.Remedy != "do this" || remote.Retryable() {
		t.Errorf("got %#v", err)
	}
}

func TestServiceRefusesRequests(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	called := make(chan struct{}, 8)
	serve(t, s, b, &publisher{node: "db1", facts: func(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
		called <- struct{}{}
		return nil, messages.ErrBusy
	}})
	for what, tc := range map[string]struct {
		body string
		code messages.ErrorCode
	}{
		"of another cluster": {`{"v":1,"cluster":"other","node":"db2"}`, messages.CodeRefused},
		"that are empty":     {"", messages.CodeBadRequest},
		"of a newer version": {`{"v":2,"cluster":"main","node":"db2"}`, messages.CodeBadRequest},
		"with more fields":   {`{"v":1,"cluster":"main","node":"db2","x":1}`, messages.CodeBadRequest},
		"that are too large": {factsRequest + strings.Repeat(" ", 64<<10), messages.CodeBadRequest},
	} {
		m := request(t, s, "facts", tc.body)
		if got := m.Header.Get(micro.ErrorCodeHeader); got != string(tc.code) {
			t.Errorf("requests %s: code %q, want %q (%s)", what, got, tc.code, m.Data)
		}
	}
	nc := s.Connect(t)
	if err := nc.Publish(names.Service("db1", "facts", "db2"), []byte(factsRequest)); err != nil { // no reply subject
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	request(t, s, "facts", factsRequest) // behind it on the same subject
	if len(called) != 1 {
		t.Errorf("the handler was called %d times, want once: for the good request only", len(called))
	}
}

func TestServicesOfTwoNodesDoNotShareRequests(t *testing.T) {
	s := natstest.Run(t)
	for _, n := range []messages.NodeName{"db1", "db2"} {
		serve(t, s, node(t, s, n), &publisher{node: n})
	}
	for range 20 {
		var f messages.PrimaryFacts
		if err := messages.Decode(request(t, s, "facts", factsRequest).Data, &f); err != nil {
			t.Fatal(err)
		}
		if f.Node != "db1" {
			t.Fatalf("node %s answered a request to db1", f.Node)
		}
	}
}

func TestServiceWorksConcurrentlyAndSaysWhenItIsFull(t *testing.T) {
	const room = 32
	s := natstest.Run(t)
	b := node(t, s, "db1")
	entered, leave := make(chan struct{}, room+1), make(chan struct{})
	serve(t, s, b, &publisher{node: "db1", facts: func(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
		entered <- struct{}{}
		<-leave
		return nil, messages.ErrBusy
	}})
	nc := s.Connect(t)
	var wg sync.WaitGroup
	for range room {
		wg.Go(func() {
			if _, err := nc.Request(names.Service("db1", "facts", "db2"), []byte(factsRequest), patience); err != nil {
				t.Error(err)
			}
		})
	}
	for range room {
		receive(t, entered, "the handlers")
	}
	m := request(t, s, "slot", "")
	if got := m.Header.Get(micro.ErrorCodeHeader); got != string(messages.CodeUnavailable) || !bytes.Contains(m.Data, []byte("32")) {
		t.Errorf("request %d: code %q, %s", room+1, got, m.Data)
	}
	close(leave)
	wg.Wait()
}

func TestServeWaitsForItsHandlersAndCancelsThem(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	entered, ended := make(chan struct{}), make(chan struct{})
	stop := serve(t, s, b, &publisher{node: "db1", facts: func(ctx context.Context, _ messages.FactsRequest) (*messages.PrimaryFacts, error) {
		close(entered)
		<-ctx.Done()
		defer close(ended)
		return nil, ctx.Err()
	}})
	nc := s.Connect(t)
	if err := nc.PublishRequest(names.Service("db1", "facts", "db2"), nc.NewInbox(), []byte(factsRequest)); err != nil {
		t.Fatal(err)
	}
	receive(t, entered, "the handler")
	stop()
	select {
	case <-ended:
	default:
		t.Error("Serve returned before its handler ended")
	}
	natstest.Eventually(t, patience, "the service to be gone", func() error {
		_, err := nc.Request(names.Service("db1", "facts", "db2"), []byte(factsRequest), time.Second)
		if !errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

func TestServiceIsListedAndAnswersAfterARestart(t *testing.T) {
	s := natstest.Run(t)
	serve(t, s, node(t, s, "db1"), &publisher{node: "db1"})
	s.Restart()
	nc := s.Connect(t)
	var info micro.Info
	natstest.Eventually(t, patience, "the service", func() error {
		m, err := nc.Request("$SRV.INFO.pgresync-primary", nil, time.Second)
		if err != nil {
			return err
		}
		return json.Unmarshal(m.Data, &info)
	})
	if info.Version != "1.2.3" || info.Metadata["cluster"] != "main" || info.Metadata["node"] != "db1" || len(info.Endpoints) != 6 {
		t.Errorf("info %+v", info)
	}
	request(t, s, "facts", factsRequest)
	m, err := nc.Request("$SRV.STATS.pgresync-primary", nil, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(m.Data, []byte(`"requests":1`)) {
		t.Errorf("stats do not count the request: %s", m.Data)
	}
}
