package primary

import (
	"context"
	"sync"
)

// gate is open while the node publishes: it is on duty and knows what it has.
type gate struct {
	mu      sync.Mutex
	open    bool
	changed chan struct{}
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// state is whether it is open, and what is closed at the next change.
func (g *gate) state() (open bool, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.changed
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == open {
		return
	}
	g.open = open
	close(g.changed)
	g.changed = make(chan struct{})
}

// while runs f whenever the gate is open and ends it, with its context, when the
// gate closes. It returns when ctx is done, or with what f returned by itself.
func (g *gate) while(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		open, changed := g.state()
		if !open {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
			}
			continue
		}
		if err := until(ctx, changed, f); ctx.Err() != nil || !isClosed(changed) {
			return err
		}
	}
}

// until runs f until it returns; its context ends when changed is closed.
func until(ctx context.Context, changed <-chan struct{}, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-changed:
		cancel()
		return <-done
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
