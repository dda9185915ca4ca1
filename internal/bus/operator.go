package bus

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
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
	guard := &guard{operators: b.cfg.Operators, subject: b.names.Operator(b.cfg.Node, b.cfg.Sidecar, verb), obeyed: replays{}}
	return func(ctx context.Context, _ messages.NodeName, body []byte) ([]byte, error) {
		r, err := messages.DecodeOperatorRequest(verb, body)
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		if acts(verb, &r) {
			if err := guard.admit(&r, body, time.Now()); err != nil {
				return nil, err
			}
		}
		reply, err := h(ctx, r)
		if err != nil {
			return nil, err
		}
		return messages.Encode(reply)
	}
}

// acts tells requests that change something from those that look.
func acts(verb messages.OperatorVerb, r *messages.OperatorRequest) bool {
	return !r.DryRun && verb != messages.VerbStatus && verb != messages.VerbStreams
}

// guard admits requests on one subject by operators whose keys are pinned, each
// once; everybody's without any.
type guard struct {
	operators messages.Keys
	subject   string

	mu     sync.Mutex
	obeyed replays
	count  uint64
}

// requestLife is how long a signed request is good; who intercepts one can send it
// again within that time to a sidecar that was started anew.
const requestLife = 30 * time.Second

func (g *guard) admit(r *messages.OperatorRequest, body []byte, now time.Time) error {
	if len(g.operators) == 0 {
		return nil
	}
	_, signature, err := g.operators.Open(g.subject, body)
	if err == nil && (r.ExpiresAt.IsZero() || r.ExpiresAt.Sub(now) > requestLife+clockSkew || now.After(r.ExpiresAt.Add(clockSkew))) {
		err = fmt.Errorf("%w: expires_at %s is not within %s from now", messages.ErrUntrusted, r.ExpiresAt.Format(time.RFC3339), requestLife+clockSkew)
	}
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.count++
		err = g.obeyed.check(signature, g.count)
		g.obeyed.add(signature, g.count, r.ExpiresAt.Add(clockSkew))
	}
	if err != nil {
		return fmt.Errorf("%w: operators' keys are pinned (PGRESYNC_TRIGGER_KEYS), sign with one of them (PGRESYNC_OPERATOR_SEED_FILE): %w", messages.ErrRefused, err)
	}
	return nil
}

// Operate asks one sidecar for verb, and signs what acts if there is a signer.
// Errors of the sidecar are *RemoteError; ErrUnavailable when it does not answer.
// Where publishers' keys are pinned, the answer of a primary sidecar must be
// signed, a standby's need not: it is for people.
func (b *Bus) Operate(ctx context.Context, node messages.NodeName, sidecar string, verb messages.OperatorVerb, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	subject := b.names.Operator(node, sidecar, verb)
	body, err := b.operatorBody(subject, verb, r)
	if err != nil {
		return nil, err
	}
	trusted := b.cfg.Publishers
	if sidecar != messages.SidecarPrimary {
		trusted = nil
	}
	m, err := (&Client{b: b}).exchange(ctx, subject, timeoutOf(verb)+answerSlack, body)
	if err == nil {
		m.Data, _, err = trusted.Open(answerSubject(subject, m.Subject), m.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the %s sidecar of %s for %s: %w", sidecar, node, verb, err)
	}
	if err := remoteError(node, string(verb), m, trusted); err != nil {
		return nil, err
	}
	var out messages.OperatorReply
	if err := messages.Decode(m.Data, &out); err != nil {
		return nil, fmt.Errorf("ask the %s sidecar of %s for %s: %w", sidecar, node, verb, err)
	}
	return &out, nil
}

func (b *Bus) operatorBody(subject string, verb messages.OperatorVerb, r messages.OperatorRequest) ([]byte, error) {
	r.V = messages.Version
	if b.cfg.Signer == nil || !acts(verb, &r) {
		return messages.Encode(&r)
	}
	r.ExpiresAt = time.Now().Add(requestLife).UTC()
	return b.seal(subject, &r)
}
