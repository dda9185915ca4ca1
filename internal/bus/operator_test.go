package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func operated(t *testing.T, s *natstest.Server, handlers map[messages.OperatorVerb]bus.OperatorHandler) {
	t.Helper()
	b := node(t, s, "db2", func(c *bus.Config) { c.Sidecar = messages.SidecarSecondary })
	run(t, func(ctx context.Context) error { return b.ServeOperator(ctx, handlers) })
	natstest.AwaitService(t, s.Connect(t), "pgresync-operator", len(handlers))
}

func reply(text string) *messages.OperatorReply {
	return &messages.OperatorReply{V: 1, OK: true, Node: "db2", Sidecar: messages.SidecarSecondary, Text: text}
}

func TestOperatorIsAnswered(t *testing.T) {
	s := natstest.Run(t)
	operated(t, s, map[messages.OperatorVerb]bus.OperatorHandler{
		messages.VerbPause: func(_ context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
			return reply("paused: " + r.Reason), nil
		},
	})
	ours := node(t, s, "desk", func(c *bus.Config) { c.Sidecar = bus.SidecarOperator })
	got, err := ours.Operate(t.Context(), "db2", messages.SidecarSecondary, messages.VerbPause, messages.OperatorRequest{Reason: "disk"})
	if err != nil || got.Text != "paused: disk" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ours.Operate(t.Context(), "db9", messages.SidecarSecondary, messages.VerbPause, messages.OperatorRequest{}); !errors.Is(err, messages.ErrUnavailable) {
		t.Errorf("a node that is not there: got %v, want ErrUnavailable", err)
	}
}

// What `nats req` sees: it exits 0 whatever the headers say.
func TestOperatorErrorsAreInHeadersAndBody(t *testing.T) {
	s := natstest.Run(t)
	operated(t, s, map[messages.OperatorVerb]bus.OperatorHandler{
		messages.VerbResync: func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
			return nil, fmt.Errorf("node db2: %w: it is paused", messages.ErrRefused)
		},
	})
	nc := s.Connect(t)
	for body, want := range map[string]messages.ErrorCode{
		"":                  messages.CodeRefused,
		`{"fool":true}`:     messages.CodeBadRequest,
		`{"v":2}`:           messages.CodeBadRequest,
		`{"v":1,"by":"me"}`: messages.CodeRefused,
	} {
		m, err := nc.Request(names.Operator("db2", "secondary", messages.VerbResync), []byte(body), patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get(micro.ErrorCodeHeader); got != string(want) {
			t.Errorf("%q: header code %q, want %q", body, got, want)
		}
		if text := string(m.Data); !strings.Contains(text, `"ok":false`) || !strings.Contains(text, `"code":"`+string(want)+`"`) {
			t.Errorf("%q: body %s", body, text)
		}
	}
}

// pinned is db2's secondary sidecar where one operator's keys are pinned; it counts
// what it obeyed.
func pinned(t *testing.T, s *natstest.Server, operator *messages.Signer) (obeyed *atomic.Int32) {
	t.Helper()
	b := node(t, s, "db2", func(c *bus.Config) {
		c.Sidecar, c.Operators = messages.SidecarSecondary, keysOf(t, operator)
	})
	obeyed = &atomic.Int32{}
	well := func(ctx context.Context, _ messages.OperatorRequest) (*messages.OperatorReply, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		obeyed.Add(1)
		return reply("done"), nil
	}
	run(t, func(ctx context.Context) error {
		return b.ServeOperator(ctx, map[messages.OperatorVerb]bus.OperatorHandler{
			messages.VerbStatus: well, messages.VerbResync: well, messages.VerbPause: well,
		})
	})
	natstest.AwaitService(t, s.Connect(t), "pgresync-operator", 3)
	return obeyed
}

func TestRequestsThatActAreRefusedWhereKeysArePinned(t *testing.T) {
	s := natstest.Run(t)
	operator := signer(t)
	pinned(t, s, operator)
	desk := func(key *messages.Signer) *bus.Bus {
		return node(t, s, "desk", func(c *bus.Config) { c.Sidecar, c.Signer = bus.SidecarOperator, key })
	}
	for name, tt := range map[string]struct {
		key  *messages.Signer
		acts error
	}{
		"unsigned":             {nil, messages.ErrRefused},
		"signed by a stranger": {signer(t), messages.ErrRefused},
		"signed":               {operator, nil},
	} {
		b := desk(tt.key)
		for verb, want := range map[messages.OperatorVerb]error{messages.VerbStatus: nil, messages.VerbResync: tt.acts, messages.VerbPause: tt.acts} {
			if _, err := b.Operate(t.Context(), "db2", messages.SidecarSecondary, verb, messages.OperatorRequest{}); !errors.Is(err, want) {
				t.Errorf("%s, %s: got %v, want %v", name, verb, err, want)
			}
		}
		if _, err := b.Operate(t.Context(), "db2", messages.SidecarSecondary, messages.VerbResync, messages.OperatorRequest{DryRun: true}); err != nil {
			t.Errorf("%s, a dry run: %v", name, err)
		}
	}
}

// A signed request is good once, for its subject, and for a while.
func TestASignedRequestCannotBeRepeated(t *testing.T) {
	s := natstest.Run(t)
	operator := signer(t)
	obeyed := pinned(t, s, operator)
	nc := s.Connect(t)
	signed := func(verb messages.OperatorVerb, expires time.Time) []byte {
		body, err := messages.Encode(&messages.OperatorRequest{V: 1, ExpiresAt: expires})
		if err == nil {
			body, err = operator.Seal(names.Operator("db2", "secondary", verb), body)
		}
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	now := time.Now()
	good := signed(messages.VerbResync, now.Add(20*time.Second))
	for _, tt := range []struct {
		what string
		body []byte
		code messages.ErrorCode
	}{
		{"the first time", good, ""},
		{"the second time", good, messages.CodeRefused},
		{"signed for another verb", signed(messages.VerbPause, now.Add(20*time.Second)), messages.CodeRefused},
		{"past its time", signed(messages.VerbResync, now.Add(-2*time.Minute)), messages.CodeRefused},
		{"good for too long", signed(messages.VerbResync, now.Add(time.Hour)), messages.CodeRefused},
		{"good for ever", signed(messages.VerbResync, time.Time{}), messages.CodeRefused},
		{"another one", signed(messages.VerbResync, now.Add(21*time.Second)), ""},
	} {
		m, err := nc.Request(names.Operator("db2", "secondary", messages.VerbResync), tt.body, patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := messages.ErrorCode(m.Header.Get(micro.ErrorCodeHeader)); got != tt.code {
			t.Errorf("%s: got code %q, want %q: %s", tt.what, got, tt.code, m.Data)
		}
	}
	if n := obeyed.Load(); n != 2 {
		t.Errorf("%d requests were obeyed, want 2", n)
	}
}

// The publisher's answers are held against the pinned keys; a standby's are for people.
func TestAnswersOfPrimarySidecarsMustBeSigned(t *testing.T) {
	s := natstest.Run(t)
	good := signer(t)
	for i, tt := range []struct {
		sidecar string
		key     *messages.Signer
		want    error
	}{
		{messages.SidecarPrimary, good, nil},
		{messages.SidecarPrimary, nil, messages.ErrUntrusted},
		{messages.SidecarPrimary, signer(t), messages.ErrUntrusted},
		{messages.SidecarSecondary, nil, nil},
	} {
		name := messages.NodeName(fmt.Sprintf("db%d", i+3))
		b := node(t, s, name, func(c *bus.Config) { c.Sidecar, c.Signer = tt.sidecar, tt.key })
		run(t, func(ctx context.Context) error {
			return b.ServeOperator(ctx, map[messages.OperatorVerb]bus.OperatorHandler{
				messages.VerbStatus: func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
					return reply("well"), nil
				},
			})
		})
		desk := node(t, s, "desk", func(c *bus.Config) { c.Sidecar, c.Publishers = bus.SidecarOperator, keysOf(t, good) })
		natstest.Eventually(t, patience, "an answer as wanted", func() error {
			_, err := desk.Operate(t.Context(), name, tt.sidecar, messages.VerbStatus, messages.OperatorRequest{})
			if errors.Is(err, tt.want) {
				return nil
			}
			return fmt.Errorf("%s %s: got %w, want %w", tt.sidecar, name, err, tt.want)
		})
	}
}

func TestEndpointsTellTheirSchemas(t *testing.T) {
	s := natstest.Run(t)
	operated(t, s, map[messages.OperatorVerb]bus.OperatorHandler{
		messages.VerbStatus: func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
			return reply("x"), nil
		},
	})
	m, err := s.Connect(t).Request("$SRV.INFO.pgresync-operator", nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(m.Data, &info); err != nil {
		t.Fatal(err)
	}
	if info.Metadata["sidecar"] != "secondary" || len(info.Endpoints) != 1 {
		t.Fatalf("info %+v", info)
	}
	var schema struct {
		Type       string
		Properties map[string]struct{ Type, Format string }
		Required   []string
	}
	if err := json.Unmarshal([]byte(info.Endpoints[0].Metadata["response_schema"]), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Type != "object" || schema.Properties["ok"].Type != "boolean" || schema.Properties["status"].Type != "object" || len(schema.Required) != 5 {
		t.Errorf("schema %+v", schema)
	}
}

func TestEstimateOfTheHolder(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	serve(t, s, b, &publisher{node: "db1"})
	campaign(t, b, lease("db1", 1))
	got, err := bus.NewClient(node(t, s, "db2")).Estimate(t.Context(), messages.StreamRequest{To: 2, From: 1})
	if err != nil || got.Bytes != 4711 || got.Written != 42 {
		t.Errorf("got %+v, %v", got, err)
	}
}
