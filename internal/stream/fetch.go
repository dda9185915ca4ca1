package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/pgresync/pgresync/messages"
)

// fetcher reads stored parts, two at a time at most.
type fetcher struct {
	js     jetstream.JetStream
	bucket messages.Subjects
	limit  *limiter
	// flight is what was asked for and has not arrived.
	flight *flight
	// used are consumers to be removed.
	used chan string
}

func newFetcher(js jetstream.JetStream, bucket messages.Subjects, limit *limiter) *fetcher {
	return &fetcher{js: js, bucket: bucket, limit: limit, flight: newFlight(2 * pullRequest), used: make(chan string, 2*underWay)}
}

func (f *fetcher) stream() string { return "OBJ_" + f.bucket.Bucket() }

// fetch reads one part into buf, which has the announced size, and verifies
// all of it. Errors that wrap ErrBadPart are about what is stored, others about
// the way here. asked is called when everything was asked for, if it comes to that.
//
// The consumer acknowledges nothing and lives in memory: whatever goes wrong,
// the part is read again from its start.
func (f *fetcher) fetch(ctx context.Context, p *messages.Part, buf []byte, asked func()) error {
	subject := "$O." + f.bucket.Bucket() + ".C." + p.Nuid
	g := &gather{part: p, subject: subject, buf: buf, sum: sha256.New(), limit: f.limit, flight: f.flight, complete: asked}
	defer g.leave()
	// Before there is a consumer: one that waits for long would be removed.
	if err := g.admit(ctx); err != nil {
		return err
	}
	// A name of our own: the answer may not come, and there is a consumer all the same.
	name := nuid.Next()
	defer f.discard(name)
	cons, err := f.consumer(ctx, name, subject)
	if err != nil {
		return err
	}
	if pending := cons.CachedInfo().NumPending; pending != uint64(p.Chunks) {
		return fmt.Errorf("%w: the bucket holds %d chunks of %d", ErrBadPart, pending, p.Chunks)
	}
	sub, err := f.js.Conn().SubscribeSync(f.js.Conn().NewInbox())
	if err != nil {
		return fmt.Errorf("subscribe for chunks: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	g.pulls = puller{
		conn: f.js.Conn(), subject: apiPrefix(f.js) + "CONSUMER.MSG.NEXT." + f.stream() + "." + name, inbox: sub.Subject,
	}
	return g.run(ctx, sub)
}

// consumer waits for the answer a little longer than ctx, so that the removal of
// the consumer, which comes next, cannot overtake its creation in the server.
func (f *fetcher) consumer(ctx context.Context, name, subject string) (jetstream.Consumer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(heartbeat, cancel) })()
	cons, err := f.js.CreateConsumer(asking, f.stream(), jetstream.ConsumerConfig{
		Name:              name,
		FilterSubject:     subject,
		DeliverPolicy:     jetstream.DeliverAllPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: fetchIdle,
	})
	if err != nil {
		return nil, fmt.Errorf("create consumer for %s: %w", subject, err)
	}
	return cons, nil
}

// discard hands a consumer to release, if that keeps up: it is a courtesy, and the
// server removes the consumer after fetchIdle.
func (f *fetcher) discard(name string) {
	select {
	case f.used <- name:
	default:
	}
}

// release removes consumers while the next parts are fetched, until used is closed
// and empty.
func (f *fetcher) release(ctx context.Context) {
	for name := range f.used {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeat)
		_ = f.js.DeleteConsumer(ctx, f.stream(), name)
		cancel()
	}
}

func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		return o.APIPrefix + "."
	default:
		return jetstream.DefaultAPIPrefix
	}
}

// puller asks for chunks. All requests have one inbox: the server serves
// requests with different ones in turns, which mixes up the order.
type puller struct {
	conn           *nats.Conn
	subject, inbox string
}

const pullExpiry = 5 * time.Minute

func (p puller) ask(batch int) error {
	body, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{batch, pullExpiry, heartbeat})
	if err != nil {
		return fmt.Errorf("encode pull request: %w", err)
	}
	if err := p.conn.PublishRequest(p.subject, p.inbox, body); err != nil {
		return fmt.Errorf("ask for chunks: %w", err)
	}
	return nil
}

// gather collects the chunks of one part.
type gather struct {
	part     *messages.Part
	subject  string
	pulls    puller
	buf      []byte
	sum      hash.Hash
	limit    *limiter
	flight   *flight
	complete func() // called when all chunks were asked for
	got      int    // bytes
	idle     int    // heartbeats since the last chunk
	// In chunks: those there is room for in flight, those that were asked for, and
	// those that came.
	admitted, asked, chunks int
	lastSeq                 uint64
}

// chunk is the size of most chunks, batch how many are asked for at a time.
func (g *gather) chunk() int { return max(1, (len(g.buf)+g.part.Chunks-1)/g.part.Chunks) }
func (g *gather) batch() int { return max(1, g.limit.cap(pullRequest)/g.chunk()) }

// cost is what n chunks take of the room in flight.
func (g *gather) cost(n int) int64 { return int64(n) * g.flight.cost(g.chunk()) }

// admit makes room in flight for one batch more. It waits only as long as nothing
// of this part is on its way.
func (g *gather) admit(ctx context.Context) error {
	n := min(g.batch(), g.part.Chunks-g.admitted)
	if g.admitted > g.chunks {
		if g.flight.room.TryAcquire(g.cost(n)) {
			g.admitted += n
		}
		return nil
	}
	if err := g.flight.room.Acquire(ctx, g.cost(n)); err != nil {
		return context.Cause(ctx)
	}
	g.admitted += n
	return nil
}

// leave gives back the room of what did not come.
func (g *gather) leave() { g.flight.room.Release(g.cost(g.admitted - g.chunks)) }

// run keeps two requests under way, so that the next batch is being sent
// while this one is read.
func (g *gather) run(ctx context.Context, sub *nats.Subscription) error {
	for g.chunks < g.part.Chunks {
		if err := g.ask(ctx); err != nil {
			return err
		}
		msg, err := g.next(ctx, sub)
		if err != nil {
			return fmt.Errorf("chunk %d of %d: %w", g.chunks, g.part.Chunks, err)
		}
		if err := g.take(msg); err != nil {
			return err
		}
		if err := g.limit.wait(ctx, len(msg.Data)); err != nil {
			return err
		}
	}
	return g.verify()
}

func (g *gather) ask(ctx context.Context) error {
	for {
		if n := g.admitted - g.asked; n > 0 {
			if err := g.pulls.ask(n); err != nil {
				return err
			}
			g.asked = g.admitted
		}
		if g.asked == g.part.Chunks {
			g.complete()
			return nil
		}
		if g.asked-g.chunks > g.batch() {
			return nil
		}
		if err := g.admit(ctx); err != nil || g.admitted == g.asked {
			return err
		}
	}
}

// next waits for a message. The server sends a heartbeat every second in which it
// has nothing else to send; on a slow line it comes after another part's chunks.
func (g *gather) next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	for {
		heard := g.flight.heard.Load()
		msg, err := nextWithin(ctx, sub, 3*heartbeat)
		if err == nil {
			g.flight.heard.Add(1)
			return msg, nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || g.flight.heard.Load() == heard {
			return nil, err
		}
	}
}

func nextWithin(ctx context.Context, sub *nats.Subscription, stall time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, stall)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

func (g *gather) take(msg *nats.Msg) error {
	if status := msg.Header.Get("Status"); len(msg.Data) == 0 && status != "" {
		return g.status(status, msg.Header)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("chunk %d: %w", g.chunks, err)
	}
	if msg.Subject != g.subject || meta.Sequence.Consumer != uint64(g.chunks)+1 || meta.Sequence.Stream <= g.lastSeq {
		return fmt.Errorf("chunk %d: got number %d of subject %s (sequence %d after %d)",
			g.chunks, meta.Sequence.Consumer, msg.Subject, meta.Sequence.Stream, g.lastSeq)
	}
	if g.got+len(msg.Data) > len(g.buf) {
		return fmt.Errorf("%w: its chunks have more than %d bytes", ErrBadPart, len(g.buf))
	}
	g.lastSeq = meta.Sequence.Stream
	g.sum.Write(msg.Data)
	g.got += copy(g.buf[g.got:], msg.Data)
	g.chunks++
	g.idle = 0
	g.flight.room.Release(g.cost(1))
	return nil
}

var errPullEnded = errors.New("pull request ended")

// status deals with what the server says instead of sending a chunk. All that is
// asked for was there when the fetch began, so a server that goes on to say that it
// has nothing to send has lost it: a publisher that came on duty removed it as the
// leftover of a dead one. Only a fetch from the start tells.
func (g *gather) status(code string, h nats.Header) error {
	switch code {
	case "100": // idle heartbeat
		if g.idle++; g.idle < idleThreshold {
			return nil
		}
		return fmt.Errorf("%w: %d chunks were asked for and do not come", errPullEnded, g.asked-g.chunks)
	case "408": // the request expired on a slow line; what it left over is asked for again
		if left, err := strconv.Atoi(h.Get("Nats-Pending-Messages")); err == nil && left > 0 && left <= g.asked-g.chunks {
			g.asked -= left
			return nil
		}
	}
	return fmt.Errorf("%w: %s %s", errPullEnded, code, h.Get("Description"))
}

func (g *gather) verify() error {
	if g.got != len(g.buf) {
		return fmt.Errorf("%w: its chunks have %d bytes, want %d", ErrBadPart, g.got, len(g.buf))
	}
	if sum := hex.EncodeToString(g.sum.Sum(nil)); sum != g.part.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, want %s", ErrBadPart, sum, g.part.SHA256)
	}
	return nil
}
