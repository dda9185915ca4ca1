package bus

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/pgresync/pgresync/messages"
)

// operatorService is the name of the micro service that every sidecar has for its
// operator. It is another one than the publisher's, because both sidecars have it.
const operatorService = "pgresync-operator"

// OperatorHandler answers one verb.
type OperatorHandler func(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error)

// How long each verb may work; what is not listed has operatorTimeout.
const operatorTimeout = 20 * time.Second

var operatorTimeouts = map[messages.OperatorVerb]time.Duration{
	messages.VerbSnapshot: snapshotTimeout,
	messages.VerbResync:   time.Minute, // a dry run asks the publisher for estimates
	messages.VerbCleanup:  2 * time.Minute,
}

func timeoutOf(v messages.OperatorVerb) time.Duration {
	if d, ok := operatorTimeouts[v]; ok {
		return d
	}
	return operatorTimeout
}

// ServeOperator answers the operator's requests to this node's sidecar until ctx
// is done, and returns nil when the last handler has ended. Every verb with a
// handler is an endpoint of the micro service "pgresync-operator".
func (b *Bus) ServeOperator(ctx context.Context, handlers map[messages.OperatorVerb]OperatorHandler) error {
	var endpoints []endpoint
	for _, verb := range slices.Sorted(maps.Keys(handlers)) {
		endpoints = append(endpoints, endpoint{
			name: string(verb), subject: b.names.Operator(b.cfg.Node, b.cfg.Sidecar, verb), timeout: timeoutOf(verb),
			handle:  b.operatorHandle(verb, handlers[verb]),
			request: &messages.OperatorRequest{}, reply: &messages.OperatorReply{},
		})
	}
	return b.serve(ctx, micro.Config{
		Name:        operatorService,
		Description: fmt.Sprintf("pgresync %s sidecar of node %s, for its operator", b.cfg.Sidecar, b.cfg.Node),
	}, endpoints)
}

func (b *Bus) operatorHandle(verb messages.OperatorVerb, h OperatorHandler) func(context.Context, messages.NodeName, []byte) ([]byte, error) {
	return func(ctx context.Context, _ messages.NodeName, body []byte) ([]byte, error) {
		r, err := messages.DecodeOperatorRequest(verb, body)
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		if err := b.mayAct(verb, &r); err != nil {
			return nil, err
		}
		reply, err := h(ctx, r)
		if err != nil {
			return nil, err
		}
		return messages.Encode(reply)
	}
}

// mayAct refuses what changes something where operators' keys are pinned: a
// request has no signature that ends, as a trigger has, and only the server's
// permissions vouch for its sender.
func (b *Bus) mayAct(verb messages.OperatorVerb, r *messages.OperatorRequest) error {
	if len(b.cfg.Operators) == 0 || r.DryRun || verb == messages.VerbStatus || verb == messages.VerbStreams {
		return nil
	}
	return fmt.Errorf("%w: operators' keys are pinned, and requests are not signed; send a signed trigger instead", messages.ErrRefused)
}

// Operate asks one sidecar for verb. Errors of the sidecar are *RemoteError;
// ErrUnavailable when it does not answer.
func (b *Bus) Operate(ctx context.Context, node messages.NodeName, sidecar string, verb messages.OperatorVerb, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	r.V = messages.Version
	body, err := messages.Encode(&r)
	if err != nil {
		return nil, err
	}
	c := Client{b: b}
	m, err := c.exchange(ctx, b.names.Operator(node, sidecar, verb), timeoutOf(verb)+answerSlack, body)
	if err == nil {
		// A standby's answer is for people, and need not be signed.
		m.Data, _, err = messages.Keys(nil).Open("", m.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the %s sidecar of %s for %s: %w", sidecar, node, verb, err)
	}
	if remote := remoteError(node, string(verb), m); remote != nil {
		return nil, remote
	}
	var out messages.OperatorReply
	if err := messages.Decode(m.Data, &out); err != nil {
		return nil, fmt.Errorf("ask the %s sidecar of %s for %s: %w", sidecar, node, verb, err)
	}
	return &out, nil
}
