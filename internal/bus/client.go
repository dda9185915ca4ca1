package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pgresync/pgresync/messages"
)

// Client asks the publisher, whichever node that is: each request goes to the
// holder of the lease. Errors of the publisher are *RemoteError and wrap the
// sentinel of their code; ErrUnavailable stands for no lease, no answer, or an
// answer of a deposed publisher. Safe for concurrent use.
type Client struct {
	b     *Bus
	fence fence
}

// NewClient returns a client of b's cluster for b's node.
func NewClient(b *Bus) *Client { return &Client{b: b} }

const (
	// answerSlack is what a request may take beyond its handler's time.
	answerSlack = 5 * time.Second
	// snapshotPatience is for one snapshot, snapshotAttempt for one request for it.
	snapshotPatience = snapshotTimeout + 30*time.Second
	snapshotAttempt  = time.Minute
)

// Facts asks what the publisher has for this node.
func (c *Client) Facts(ctx context.Context) (*messages.PrimaryFacts, error) {
	var out messages.PrimaryFacts
	request := &messages.FactsRequest{V: messages.Version, Cluster: c.b.cfg.Cluster, Node: c.b.cfg.Node}
	lease, err := c.ask(ctx, "facts", factsTimeout+answerSlack, request, &out)
	if err != nil {
		return nil, err
	}
	return &out, c.check("facts", lease, out.Cluster, out.Node, out.Lease)
}

// Snapshot asks for a bracketed snapshot that begins at minStart or later and is
// no older than maxAge (0: a new one). It takes as long as a checkpoint, 5
// minutes at most. The request is repeated once a minute: a publisher that
// restarted meanwhile forgot it, one that did not lets the repetition join the
// snapshot in work.
func (c *Client) Snapshot(ctx context.Context, minStart messages.LSN, maxAge time.Duration) (*messages.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	begin := time.Now()
	// A snapshot taken since the first request is as good as a new one.
	for age := maxAge; ; age = max(maxAge, time.Since(begin)) {
		m, err := c.snapshotOnce(ctx, minStart, age)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return m, err
		}
	}
}

func (c *Client) snapshotOnce(ctx context.Context, minStart messages.LSN, maxAge time.Duration) (*messages.Manifest, error) {
	var out messages.Manifest
	request := &messages.SnapshotRequest{
		V: messages.Version, Cluster: c.b.cfg.Cluster, Node: c.b.cfg.Node,
		MinStartLSN: minStart, MaxAgeMS: maxAge.Milliseconds(),
	}
	lease, err := c.ask(ctx, "snapshot", snapshotAttempt, request, &out)
	if err != nil {
		return nil, err
	}
	// The manifest of a snapshot that existed already has the revision, and may
	// have the node, of an earlier term; it is the cluster that must agree.
	if out.Cluster != lease.Cluster || out.SystemID != lease.SystemID || out.StartLSN < minStart {
		return nil, fmt.Errorf("ask %s for snapshot: %w: the answer is of cluster %q, system %s, start %s",
			lease.Node, messages.ErrBadDocument, out.Cluster, out.SystemID, out.StartLSN)
	}
	return &out, nil
}

// Slot asks the publisher to act on the slot of one copy on this node.
func (c *Client) Slot(ctx context.Context, resync messages.ResyncID, action messages.SlotAction) (messages.SlotState, error) {
	return c.slot(ctx, messages.SlotRequest{Resync: resync, Action: action})
}

// SlotAt asks for a slot that keeps the WAL of the timeline from an earlier position on.
func (c *Client) SlotAt(ctx context.Context, resync messages.ResyncID, timeline messages.Timeline, at messages.LSN) (messages.SlotState, error) {
	return c.slot(ctx, messages.SlotRequest{Resync: resync, Action: messages.SlotReserve, From: at, Timeline: timeline})
}

func (c *Client) slot(ctx context.Context, r messages.SlotRequest) (messages.SlotState, error) {
	r.V, r.Cluster, r.Node = messages.Version, c.b.cfg.Cluster, c.b.cfg.Node
	var out messages.SlotReply
	lease, err := c.ask(ctx, "slot", slotTimeout+answerSlack, &r, &out)
	if err != nil {
		return messages.SlotState{}, err
	}
	if want := messages.SlotName(c.b.cfg.Node, r.Resync); r.Action == messages.SlotReserve && out.Slot.Name != want {
		return messages.SlotState{}, fmt.Errorf("ask %s for slot: %w: the answer is of slot %q, want %q", lease.Node, messages.ErrBadDocument, out.Slot.Name, want)
	}
	return out.Slot, nil
}

// Stream asks for one dataset's stream. The version, cluster and node of r are
// filled in.
func (c *Client) Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	r.V, r.Cluster, r.Node = messages.Version, c.b.cfg.Cluster, c.b.cfg.Node
	var out messages.StreamRecord
	lease, err := c.ask(ctx, "stream", streamTimeout+answerSlack, &r, &out)
	if err != nil {
		return nil, err
	}
	if out.To != r.To || (r.Token == "" && out.From != r.From) {
		return nil, fmt.Errorf("ask %s for stream: %w: the answer is of a stream from %s to %s", lease.Node, messages.ErrStreamMismatch, out.From, out.To)
	}
	return &out, c.check("stream", lease, out.Cluster, out.Node, out.Lease)
}

// Estimate asks how much a stream would move, without starting it. The version,
// cluster and node of r are filled in.
func (c *Client) Estimate(ctx context.Context, r messages.StreamRequest) (*messages.EstimateReply, error) {
	r.V, r.Cluster, r.Node = messages.Version, c.b.cfg.Cluster, c.b.cfg.Node
	var out messages.EstimateReply
	if _, err := c.ask(ctx, "estimate", streamTimeout+answerSlack, &r, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// AttestWAL asks the publisher to hold claims about this node's log against its own.
func (c *Client) AttestWAL(ctx context.Context, claims []messages.WALClaim) ([]messages.WALAnswer, error) {
	var out messages.WALReply
	request := &messages.WALRequest{V: messages.Version, Cluster: c.b.cfg.Cluster, Node: c.b.cfg.Node, Claims: claims}
	lease, err := c.ask(ctx, "wal", walTimeout+answerSlack, request, &out)
	if err != nil {
		return nil, err
	}
	if len(out.Answers) != len(claims) {
		return nil, fmt.Errorf("ask %s for wal: %w: %d answers to %d claims", lease.Node, messages.ErrBadDocument, len(out.Answers), len(claims))
	}
	return out.Answers, nil
}

// check holds an answer against the lease it was asked under.
func (c *Client) check(endpoint string, lease messages.Lease, cluster messages.ClusterName, node messages.NodeName, rev uint64) error {
	if cluster != lease.Cluster || node != lease.Node {
		return fmt.Errorf("ask %s for %s: %w: the answer says cluster %q and node %q", lease.Node, endpoint, messages.ErrBadDocument, cluster, node)
	}
	if err := c.fence.admit(node, rev); err != nil {
		return fmt.Errorf("ask %s for %s: %w", lease.Node, endpoint, err)
	}
	return nil
}

// ask sends one request to the holder of the lease, which it returns.
func (c *Client) ask(ctx context.Context, endpoint string, patience time.Duration, request, reply messages.Document) (messages.Lease, error) {
	lease, err := c.holder(ctx)
	if errors.Is(err, messages.ErrNotFound) {
		// Not ErrNotFound: to the caller that would be a snapshot that is gone.
		return lease, fmt.Errorf("ask for %s: %w: no node of cluster %s holds the lease: is a primary sidecar running?", endpoint, messages.ErrUnavailable, c.b.cfg.Cluster)
	}
	if err != nil {
		return lease, fmt.Errorf("ask for %s: %w", endpoint, err)
	}
	body, err := messages.Encode(request)
	if err != nil {
		return lease, err
	}
	subject := c.b.names.Service(lease.Node, endpoint, c.b.cfg.Node)
	m, err := c.exchange(ctx, subject, patience, body)
	if err == nil {
		// The inbox of this request is under the signature: an answer to an earlier one
		// does not fit.
		m.Data, _, err = c.b.cfg.Publishers.Open(answerSubject(subject, m.Subject), m.Data)
	}
	if err != nil {
		return lease, fmt.Errorf("ask %s for %s: %w", lease.Node, endpoint, err)
	}
	if err := remoteError(lease.Node, endpoint, m, c.b.cfg.Publishers); err != nil {
		return lease, err
	}
	if err := messages.Decode(m.Data, reply); err != nil {
		return lease, fmt.Errorf("ask %s for %s: %w", lease.Node, endpoint, err)
	}
	return lease, nil
}

// exchange waits for one answer. A request is not sent twice: no responders is
// an answer too, which comes at once.
func (c *Client) exchange(ctx context.Context, subject string, patience time.Duration, body []byte) (m *nats.Msg, err error) {
	begin := time.Now()
	err = withDeadline(ctx, patience, func(ctx context.Context) error {
		m, err = c.b.control.nc.RequestWithContext(ctx, subject, body)
		return err
	})
	if err == nil {
		return m, nil
	}
	return nil, c.b.explain(begin, err)
}

// remoteError reads an error reply, nil when m is not one. The headers make it
// one; the body has the details. Headers are not signed: where keys are pinned, the
// body has to say so too.
func remoteError(node messages.NodeName, endpoint string, m *nats.Msg, pinned messages.Keys) error {
	if m.Header.Get(micro.ErrorCodeHeader) == "" && m.Header.Get(micro.ErrorHeader) == "" {
		return nil
	}
	e := &RemoteError{
		Node: node, Endpoint: endpoint,
		Code: messages.ErrorCode(m.Header.Get(micro.ErrorCodeHeader)), Text: line(m.Header.Get(micro.ErrorHeader)),
	}
	var body messages.ErrorReply
	err := messages.Decode(m.Data, &body)
	if err != nil && len(pinned) > 0 {
		return fmt.Errorf("ask %s for %s: the headers call the answer an error, and its signed body is none: %w", node, endpoint, err)
	}
	if err == nil {
		e.Code, e.Text, e.Remedy = body.Code, body.Error, body.Remedy
	}
	return e
}
