package bus

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pgresync/pgresync/messages"
)

// Service is what a publisher answers to standbys. Its methods are called
// concurrently, with a deadline each; an error that wraps a sentinel of package
// messages reaches the asker as that sentinel.
type Service interface {
	Facts(ctx context.Context, r messages.FactsRequest) (*messages.PrimaryFacts, error)
	Snapshot(ctx context.Context, r messages.SnapshotRequest) (*messages.Manifest, error)
	Slot(ctx context.Context, r messages.SlotRequest) (*messages.SlotReply, error)
	Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error)
	Estimate(ctx context.Context, r messages.StreamRequest) (*messages.EstimateReply, error)
	WAL(ctx context.Context, r messages.WALRequest) (*messages.WALReply, error)
}

const (
	serviceName = "pgresync-primary"
	// maxHandlers bounds the requests in work; one more is told to come back.
	maxHandlers = 32
	// maxRequest is in bytes; a request with a long resume token has about 5000.
	maxRequest = 64 << 10
)

// How long each endpoint may work. A snapshot waits for a checkpoint.
const (
	factsTimeout    = 15 * time.Second
	slotTimeout     = 30 * time.Second
	walTimeout      = 30 * time.Second
	streamTimeout   = time.Minute
	snapshotTimeout = 5 * time.Minute
)

// endpoint is one service subject: handle turns a request's bytes into a reply.
type endpoint struct {
	name    string
	subject string
	timeout time.Duration
	handle  func(ctx context.Context, asker messages.NodeName, request []byte) ([]byte, error)
	// request and reply are documents of the kinds it takes and gives.
	request, reply messages.Document
}

func (b *Bus) endpoints(s Service) []endpoint {
	c := b.cfg.Cluster
	out := []endpoint{
		bind(c, "facts", factsTimeout, s.Facts, func(r *messages.FactsRequest) who { return who{r.Cluster, r.Node} }),
		bind(c, "snapshot", snapshotTimeout, s.Snapshot, func(r *messages.SnapshotRequest) who { return who{r.Cluster, r.Node} }),
		bind(c, "slot", slotTimeout, s.Slot, func(r *messages.SlotRequest) who { return who{r.Cluster, r.Node} }),
		bind(c, "stream", streamTimeout, s.Stream, func(r *messages.StreamRequest) who { return who{r.Cluster, r.Node} }),
		bind(c, "estimate", streamTimeout, s.Estimate, func(r *messages.StreamRequest) who { return who{r.Cluster, r.Node} }),
		bind(c, "wal", walTimeout, s.WAL, func(r *messages.WALRequest) who { return who{r.Cluster, r.Node} }),
	}
	for i := range out {
		out[i].subject = b.names.ServiceOf(b.cfg.Node, out[i].name)
	}
	return out
}

type document[T any] interface {
	*T
	messages.Document
}

// who asks: what the server's permissions vouch for is the subject, and the
// document must say the same.
type who struct {
	cluster messages.ClusterName
	node    messages.NodeName
}

// bind puts decoding, the check of the asker and encoding around a method.
func bind[Req, Reply any, PReq document[Req], PReply document[Reply]](
	ours messages.ClusterName, name string, timeout time.Duration,
	method func(context.Context, Req) (PReply, error), whoOf func(PReq) who,
) endpoint {
	handle := func(ctx context.Context, asker messages.NodeName, body []byte) ([]byte, error) {
		if len(body) > maxRequest {
			return nil, fmt.Errorf("request: %w: %d bytes are more than the %d allowed", messages.ErrBadDocument, len(body), maxRequest)
		}
		var r Req
		if err := messages.Decode(body, PReq(&r)); err != nil {
			return nil, fmt.Errorf(`request: %w (want {"v":1,"cluster":%q,"node":"<who asks>", …})`, err, ours)
		}
		switch w := whoOf(&r); {
		case w.cluster != ours:
			return nil, fmt.Errorf("request: %w: it is for cluster %q, this node belongs to %q", messages.ErrRefused, w.cluster, ours)
		case w.node != asker:
			return nil, fmt.Errorf("request: %w: it says node %q on the subject of node %q", messages.ErrRefused, w.node, asker)
		}
		reply, err := method(ctx, r)
		if err != nil {
			return nil, err
		}
		if reply == nil {
			return nil, fmt.Errorf("request: no answer and no error: %T", reply)
		}
		return messages.Encode(reply)
	}
	return endpoint{name: name, timeout: timeout, handle: handle, request: PReq(new(Req)), reply: PReply(new(Reply))}
}

// server is one Serve call.
type server struct {
	nc     *nats.Conn
	names  messages.Subjects
	signer *messages.Signer
	slots  chan struct{}
	tally  map[string]*tally

	mu     sync.Mutex
	closed bool // no handler starts any more
	work   sync.WaitGroup
}

// Serve answers the requests to this node with impl until ctx is done, and
// returns nil when the last handler has ended. It shows up as micro service
// "pgresync-primary" (`nats micro ls`). Subjects hold the node's name, because
// equal subjects share their requests between services.
func (b *Bus) Serve(ctx context.Context, impl Service) error {
	return b.serve(ctx, micro.Config{
		Name: serviceName, Description: "pgresync publisher of cluster " + string(b.cfg.Cluster),
	}, b.endpoints(impl))
}

func (b *Bus) serve(ctx context.Context, cfg micro.Config, endpoints []endpoint) error {
	s := &server{nc: b.control.nc, names: b.names, signer: b.cfg.Signer, slots: make(chan struct{}, maxHandlers), tally: map[string]*tally{}}
	for _, e := range endpoints {
		s.tally[e.name] = &tally{}
	}
	cfg.Version = serviceVersion(b.cfg.Version)
	cfg.Metadata = map[string]string{
		"cluster": string(b.cfg.Cluster), "node": string(b.cfg.Node), "sidecar": b.cfg.Sidecar, "version": b.cfg.Version,
	}
	cfg.StatsHandler = func(e *micro.Endpoint) any { return s.tally[e.Name].snapshot() }
	svc, err := micro.AddService(b.control.nc, cfg)
	if err != nil {
		return fmt.Errorf("serve requests to node %s: %w", b.cfg.Node, classify(err))
	}
	defer s.wait()
	for _, e := range endpoints {
		handler := micro.HandlerFunc(func(r micro.Request) { s.accept(ctx, e, r) })
		if err = svc.AddEndpoint(e.name, handler, micro.WithEndpointSubject(e.subject), micro.WithEndpointMetadata(e.metadata())); err != nil {
			err = fmt.Errorf("serve requests on %s: %w", e.subject, classify(err))
			break
		}
	}
	if err == nil {
		<-ctx.Done()
	}
	if stopErr := svc.Stop(); !errors.Is(stopErr, nats.ErrConnectionClosed) {
		err = errors.Join(err, stopErr)
	}
	return err
}

// wait ends when the last handler did. Stop only begins to drain, so that
// requests can still arrive here.
func (s *server) wait() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
}

// accept starts a handler. It must not block: micro calls the handlers of one
// subject one after another.
func (s *server) accept(ctx context.Context, e endpoint, r micro.Request) {
	// What arrives by a plain publish has nobody to answer to.
	reply := r.Reply()
	if !s.names.MayReply(reply) {
		return
	}
	asker, err := messages.ParseAsker(r.Subject())
	if err != nil {
		s.respond(e, r.Subject(), reply, nil, fmt.Errorf("request: %w: %w", messages.ErrRefused, err))
		return
	}
	// The request itself stays here: micro reads it after this function returned.
	body, subject := r.Data(), r.Subject()
	if err := s.start(func() { s.handle(ctx, e, asker, subject, reply, body) }); err != nil {
		s.respond(e, r.Subject(), reply, nil, err)
	}
}

// start runs f in a goroutine of its own, if there is room.
func (s *server) start(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: this sidecar is stopping", messages.ErrUnavailable)
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return fmt.Errorf("%w: %d requests are in work already, ask again in a moment", messages.ErrUnavailable, maxHandlers)
	}
	s.work.Go(func() {
		defer func() { <-s.slots }()
		f()
	})
	return nil
}

func (s *server) handle(ctx context.Context, e endpoint, asker messages.NodeName, subject, reply string, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	begin := time.Now()
	out, err := e.handle(ctx, asker, body)
	s.tally[e.name].add(time.Since(begin), err)
	s.respond(e, subject, reply, out, err)
}

// respond answers by the micro protocol, and repeats an error in the body,
// because `nats req` exits 0 and may hide headers. A reply that cannot be sent
// is the asker's timeout.
func (s *server) respond(e endpoint, subject, to string, body []byte, err error) {
	m := &nats.Msg{Subject: to, Data: body}
	if err != nil {
		reply := errorReply(fmt.Errorf("%s: %w", e.name, err))
		m.Header = nats.Header{micro.ErrorHeader: {reply.Error}, micro.ErrorCodeHeader: {string(reply.Code)}}
		if m.Data, err = messages.Encode(reply); err != nil {
			return
		}
	}
	if m.Data, err = s.signer.Seal(answerSubject(subject, to), m.Data); err != nil {
		return
	}
	_ = s.nc.PublishMsg(m)
}

// tally counts what micro cannot see, since replies do not pass through it. It
// is the "data" of `nats micro stats`.
type tally struct {
	mu     sync.Mutex
	counts tallyCounts
}

type tallyCounts struct {
	Requests int    `json:"requests"`
	Errors   int    `json:"errors"`
	Millis   int64  `json:"ms"`
	Last     string `json:"last_error,omitempty"`
}

func (t *tally) add(d time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Requests++
	t.counts.Millis += d.Milliseconds()
	if err != nil {
		t.counts.Errors++
		t.counts.Last = line(err.Error())
	}
}

func (t *tally) snapshot() tallyCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// semver is what micro takes for a version (nats.go micro/service.go).
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// serviceVersion is v without a leading "v", or 0.0.0 for a build without one.
func serviceVersion(v string) string {
	if len(v) > 0 && v[0] == 'v' {
		v = v[1:]
	}
	if !semver.MatchString(v) {
		return "0.0.0"
	}
	return v
}
