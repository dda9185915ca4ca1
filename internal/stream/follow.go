package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// announced takes announcements in order and has their parts fetched. Its last
// delivery is why there will be no more: io.EOF after a valid end.
func (s *session) announced(ctx context.Context, start func(context.Context, *messages.Part) error) error {
	w := &watch{s: s, patience: newPatience(s.r.cfg, s.r.js.Conn())}
	for {
		msg, err := w.next(ctx)
		if err != nil {
			return err
		}
		done, err := s.handle(ctx, w, msg, start)
		if err != nil {
			return err
		}
		if done {
			return io.EOF
		}
	}
}

func cut(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", messages.ErrStreamCut, err)
}

// handle deals with one announcement; done after the end.
func (s *session) handle(ctx context.Context, w *watch, msg jetstream.Msg,
	start func(context.Context, *messages.Part) error,
) (done bool, err error) {
	doc, _, err := s.r.cfg.Publishers.Open(msg.Subject(), msg.Data())
	if err != nil {
		return false, err
	}
	if strings.HasSuffix(msg.Subject(), ".end") {
		var end messages.StreamEnd
		if err := messages.Decode(doc, &end); err != nil {
			return false, err
		}
		s.endMsg = msg
		if end.Attempt == s.rec.Attempt && end.Parts > s.sequence.next {
			return false, w.early(msg)
		}
		return true, s.sequence.end(&end)
	}
	var part messages.Part
	if err := messages.Decode(doc, &part); err != nil {
		return false, err
	}
	if part.Attempt == s.rec.Attempt && part.Index < s.sequence.next {
		s.acks.again(part.Index, msg)
		return false, nil
	}
	if part.Attempt == s.rec.Attempt && part.Index > s.sequence.next {
		return false, w.early(msg)
	}
	if err := s.sequence.part(&part); err != nil {
		return false, err
	}
	s.acks.hold(part.Index, msg)
	err = start(ctx, &part)
	w.patience.progress()
	w.gap = nil
	return false, err
}

// watch waits for announcements, and meanwhile looks for signs of life of the
// writer: a slow source, or another reader that fills the window, may keep it
// silent for long.
type watch struct {
	s        *session
	patience *patience
	gap      *patience // while an announcement is missing
	cons     jetstream.Consumer
	missing  int
}

// early has an announcement delivered again that came before its turn: the one
// that is due was lost with a connection, and comes again after ackWait. When
// the server does not hear us, it will do the same.
func (w *watch) early(msg jetstream.Msg) error {
	if w.gap == nil {
		cfg := w.s.r.cfg
		cfg.StallTimeout = max(cfg.StallTimeout, 2*ackWait)
		w.gap = newPatience(cfg, w.s.r.js.Conn())
	}
	_ = msg.NakWithDelay(pollInterval)
	return w.gap.check(fmt.Errorf("part %d is missing", w.s.sequence.next))
}

// next returns the next announcement, or why there will be none.
func (w *watch) next(ctx context.Context) (jetstream.Msg, error) {
	var b backoff
	for {
		msg, err := w.poll(ctx)
		if msg != nil {
			w.missing = 0
			return msg, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil && w.writerLives(ctx) {
			w.missing = 0
			w.patience.progress()
			continue
		}
		if err == nil {
			err = errors.New("the writer is silent")
		}
		if w.gone(err) {
			return nil, fmt.Errorf("the writer detached us: %w", err)
		}
		if err := w.patience.check(err); err != nil {
			return nil, err
		}
		if !b.wait(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

// poll waits a few seconds for one announcement. Neither a message nor an
// error: there was none.
func (w *watch) poll(ctx context.Context) (jetstream.Msg, error) {
	wait := min(pingAfter, w.s.r.cfg.StallTimeout/4)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if w.cons == nil {
		cons, err := w.s.r.js.Consumer(ctx, w.s.r.ns.PartsStream(), w.s.rec.Consumer)
		if err != nil {
			return nil, fmt.Errorf("look up our consumer: %w", err)
		}
		w.cons = cons
	}
	batch, err := w.cons.Fetch(1, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(min(heartbeat, wait/4)))
	if err != nil {
		w.cons = nil
		return nil, fmt.Errorf("ask for announcements: %w", err)
	}
	if msg, ok := <-batch.Messages(); ok {
		return msg, nil
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
		w.cons = nil
		return nil, fmt.Errorf("wait for announcements: %w", err)
	}
	return nil, nil
}

// gone is true when the consumer was missing several times in a row: a server
// that starts may not know its consumers yet.
func (w *watch) gone(err error) bool {
	if !isGone(err) && !errors.Is(err, jetstream.ErrConsumerDeleted) {
		w.missing = 0
		return false
	}
	w.missing++
	return w.missing >= goneThreshold
}

func (w *watch) writerLives(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := w.s.r.js.Conn().RequestWithContext(ctx, w.s.hintSubject(), nil)
	if err != nil {
		return false
	}
	var rec messages.StreamRecord
	return messages.Decode(reply.Data, &rec) == nil && rec.Attempt == w.s.rec.Attempt
}
