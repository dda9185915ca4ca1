package primary

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pgresync/pgresync/messages"
)

// pause is whether snapshots by schedule are suspended. It is kept in a user
// property of the live dataset, so that a restart does not lift it.
type pause struct {
	zfs interface {
		Properties
		List(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error)
	}
	dataset messages.Dataset

	mu  sync.Mutex
	now *messages.Pause
}

// load reads what an earlier process left.
func (p *pause) load(ctx context.Context) error {
	tree, err := p.zfs.List(ctx, p.dataset)
	if errors.Is(err, messages.ErrNotFound) {
		return nil // a standby that was never seeded
	}
	if err != nil {
		return fmt.Errorf("read whether %s is paused: %w", p.dataset, err)
	}
	packed, ok := tree[0].Marks[messages.PropPaused]
	if !ok {
		return nil
	}
	var rec messages.PauseRecord
	if err := messages.UnpackProperty(packed, &rec); err != nil {
		return fmt.Errorf("read whether %s is paused: %w; clear it with `zfs inherit %s %s`", p.dataset, err, messages.PropPaused, p.dataset)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = &rec.Pause
	return nil
}

// on is the pause that holds, nil when there is none.
func (p *pause) on() *messages.Pause {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// set writes first: what was not written is not promised.
func (p *pause) set(ctx context.Context, to *messages.Pause) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to == nil {
		if err := p.zfs.InheritProperty(ctx, p.dataset, messages.PropPaused); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		p.now = nil
		return nil
	}
	packed, err := messages.PackProperty(&messages.PauseRecord{V: messages.Version, Pause: *to})
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := p.zfs.SetProperties(ctx, p.dataset, map[string]string{messages.PropPaused: packed}); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	p.now = to
	return nil
}
