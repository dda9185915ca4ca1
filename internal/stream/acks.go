package stream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// acks holds the announcements of parts between their delivery and their
// acknowledgement, which says that the sink has the bytes. It keeps the server
// from delivering them again meanwhile.
type acks struct {
	wake chan struct{}
	hint func() // tells the writer to look

	mu   sync.Mutex
	held []*heldMsg
}

type heldMsg struct {
	index    int
	msg      jetstream.Msg
	consumed bool
}

func newAcks(hint func()) *acks { return &acks{wake: make(chan struct{}, 1), hint: hint} }

// hold takes charge of an announcement.
func (a *acks) hold(index int, msg jetstream.Msg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = append(a.held, &heldMsg{index: index, msg: msg})
}

// again takes a repeated delivery: of a part that is held, or of one whose
// acknowledgement the server forgot, which is acknowledged once more.
func (a *acks) again(index int, msg jetstream.Msg) {
	a.mu.Lock()
	h := a.find(index)
	if h == nil {
		a.held = append(a.held, &heldMsg{index: index, msg: msg, consumed: true})
	} else {
		h.msg = msg
	}
	a.mu.Unlock()
	a.kick()
}

func (a *acks) find(index int) *heldMsg {
	i := slices.IndexFunc(a.held, func(h *heldMsg) bool { return h.index == index })
	if i < 0 {
		return nil
	}
	return a.held[i]
}

// consumed releases a part for acknowledgement.
func (a *acks) consumed(index int) {
	a.mu.Lock()
	if h := a.find(index); h != nil {
		h.consumed = true
	}
	a.mu.Unlock()
	a.kick()
}

func (a *acks) kick() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run acknowledges what was consumed, and asks for time for the rest, until
// ctx is done. An acknowledgement that fails is repeated.
func (a *acks) run(ctx context.Context) {
	tick := time.NewTicker(ackWait / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
			a.flush(ctx)
		case <-tick.C:
			a.flush(ctx)
			a.inProgress()
		}
	}
}

// flush acknowledges all that was consumed; false when something is left.
func (a *acks) flush(ctx context.Context) bool {
	for {
		h, msg := a.oldestConsumed()
		if h == nil {
			return true
		}
		if err := doubleAck(ctx, msg); err != nil {
			return false
		}
		a.remove(h)
		a.hint()
	}
}

func (a *acks) oldestConsumed() (*heldMsg, jetstream.Msg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.held {
		if h.consumed {
			return h, h.msg
		}
	}
	return nil, nil
}

func (a *acks) remove(h *heldMsg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = slices.DeleteFunc(a.held, func(o *heldMsg) bool { return o == h })
}

func (a *acks) inProgress() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.held {
		_ = h.msg.InProgress()
	}
}

func doubleAck(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := msg.DoubleAck(ctx); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		return err
	}
	return nil
}
