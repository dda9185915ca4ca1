package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
	nc := s.Connect(t)
	natstest.Eventually(t, patience, "the operator's service", func() error {
		_, err := nc.Request("$SRV.PING.pgresync-operator", nil, time.Second)
		return err
	})
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

func TestRequestsThatActAreRefusedWhereKeysArePinned(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2", func(c *bus.Config) {
		c.Sidecar, c.Operators = messages.SidecarSecondary, messages.Keys{"U": make([]byte, 32)}
	})
	well := func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
		return reply("done"), nil
	}
	run(t, func(ctx context.Context) error {
		return b.ServeOperator(ctx, map[messages.OperatorVerb]bus.OperatorHandler{
			messages.VerbStatus: well, messages.VerbResync: well, messages.VerbPause: well,
		})
	})
	nc := s.Connect(t)
	natstest.Eventually(t, patience, "the operator's service", func() error {
		_, err := nc.Request("$SRV.PING.pgresync-operator", nil, time.Second)
		return err
	})
	for verb, want := range map[messages.OperatorVerb]error{messages.VerbStatus: nil, messages.VerbResync: messages.ErrRefused, messages.VerbPause: messages.ErrRefused} {
		if _, err := b.Operate(t.Context(), "db2", messages.SidecarSecondary, verb, messages.OperatorRequest{}); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", verb, err, want)
		}
	}
	if _, err := b.Operate(t.Context(), "db2", messages.SidecarSecondary, messages.VerbResync, messages.OperatorRequest{DryRun: true}); err != nil {
		t.Errorf("a dry run: %v", err)
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
