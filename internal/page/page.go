package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

// Identity is who serves the page.
type Identity struct {
	Cluster messages.ClusterName
	Node    messages.NodeName
	Sidecar string
	Version string
}

// Cluster is what the page asks; *bus.Bus is one.
type Cluster interface {
	Nodes(ctx context.Context) ([]messages.NodeStatus, error)
	Lease(ctx context.Context) (messages.Lease, uint64, error)
	Streams(ctx context.Context) ([]messages.StreamRecord, error)
	History(ctx context.Context, since time.Time, follow bool, handle func(messages.Event) error) error
}

// Page is the status page. Observe and the handler may be called from anywhere.
type Page struct {
	id      Identity
	cluster Cluster
	// own is this sidecar's status, which needs nobody's permission; nil when it is not
	// at hand.
	own     func() messages.NodeStatus
	journal journal

	mu      sync.Mutex
	viewers int
	changed chan struct{} // closed and replaced when what follows changed
	latest  []byte        // the model; nil until somebody looked
	// denied is what NATS forbade since somebody began to look: it is not asked again,
	// for each time is a line in the log. It holds why events are not followed, too.
	denied map[string]error
}

// New makes the page of one sidecar. own may be nil.
func New(id Identity, c Cluster, own func() messages.NodeStatus) *Page {
	return &Page{id: id, cluster: c, own: own, changed: make(chan struct{}), denied: map[string]error{}}
}

// Observe shows an event of this node. It does not block.
func (p *Page) Observe(e messages.Event) { p.journal.note(e) }

const (
	// refreshEvery is how often the page is brought up to date while somebody looks,
	// askPatience how long one round may take.
	refreshEvery = time.Second
	askPatience  = 5 * time.Second
	// past is how far back events are shown, as long as mostEvents allows.
	past = 24 * time.Hour
	// followAgain is the time between two attempts at the events: a page may be looked
	// at for weeks, and NATS be away meanwhile.
	followAgain = 5 * time.Second
)

// Run keeps the page up to date while somebody looks, until ctx is done.
func (p *Page) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := p.change()
		if p.watched() {
			p.serve(ctx)
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return ctx.Err()
}

// serve follows the cluster until the last one looked away. Who comes next may be
// allowed what was forbidden until then.
func (p *Page) serve(ctx context.Context) {
	p.forgive()
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { p.follow(ctx) })
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for p.watched() {
		p.refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// What the page asks NATS for.
const (
	askNodes  = "other nodes are"
	askLease  = "the publisher is"
	askStream = "uploads are"
	askEvents = "events of other nodes are"
)

// follow hears the events of all nodes, until ctx is done or they are forbidden.
func (p *Page) follow(ctx context.Context) {
	again := time.NewTicker(followAgain)
	defer again.Stop()
	for {
		p.deny(askEvents, nil)
		err := p.cluster.History(ctx, time.Now().Add(-past), true, func(e messages.Event) error {
			p.journal.note(e)
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if p.deny(askEvents, err); errors.Is(err, messages.ErrPermission) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// deny remembers what cannot be known; a nil error is that it can.
func (p *Page) deny(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied[what] = err
}

func (p *Page) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.denied)
}

// ask runs f unless that is known to be forbidden.
func (p *Page) ask(what string, f func() error) (note string) {
	p.mu.Lock()
	err := p.denied[what]
	p.mu.Unlock()
	if err == nil {
		err = f()
	}
	switch {
	case err == nil || errors.Is(err, messages.ErrNotFound):
		return ""
	case errors.Is(err, messages.ErrPermission):
		p.deny(what, err)
	}
	return what + " not known: " + err.Error()
}

func (p *Page) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	f, notes := p.gather(ctx)
	m := build(p.id, f, &p.journal)
	m.Notes = notes
	b, err := json.Marshal(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	// Who asked may have left meanwhile, and the next one is not to see what is old by then.
	if err != nil || p.viewers == 0 || bytes.Equal(b, p.latest) {
		return
	}
	p.latest = b
	p.broadcast()
}

// gather asks for what may be known. What may not is said in a note.
func (p *Page) gather(ctx context.Context) (*operator.Facts, []string) {
	f := &operator.Facts{At: time.Now(), Seen: map[messages.NodeName]time.Time{}}
	var nodes []messages.NodeStatus
	notes := []string{
		p.ask(askNodes, func() (err error) {
			nodes, err = p.cluster.Nodes(ctx)
			return err
		}),
		p.ask(askLease, func() error {
			lease, _, err := p.cluster.Lease(ctx)
			if err == nil {
				f.Lease = &lease
			}
			return err
		}),
		p.ask(askStream, func() (err error) {
			f.Streams, err = p.cluster.Streams(ctx)
			return err
		}),
		p.ask(askEvents, func() error { return nil }), // follow does
	}
	f.Sidecars = p.withOwn(nodes)
	return f, slices.DeleteFunc(notes, func(s string) bool { return s == "" })
}

// withOwn puts this sidecar's present state in place of its last record.
func (p *Page) withOwn(nodes []messages.NodeStatus) []operator.Sidecar {
	var out []operator.Sidecar
	for _, n := range nodes {
		if p.own == nil || n.Node != p.id.Node || n.Sidecar != p.id.Sidecar {
			out = append(out, operator.Sidecar{NodeStatus: n})
		}
	}
	if p.own != nil {
		out = append(out, operator.Sidecar{NodeStatus: p.own()})
	}
	return out
}

func (p *Page) watched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.viewers > 0
}

func (p *Page) change() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// broadcast wakes all who wait; the caller holds mu.
func (p *Page) broadcast() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// mostViewers bounds what a page can cost.
const mostViewers = 32

// enter reports whether there is room for one more viewer, who has to leave.
func (p *Page) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.viewers >= mostViewers {
		return false
	}
	if p.viewers++; p.viewers == 1 {
		p.broadcast()
	}
	return true
}

func (p *Page) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.viewers--; p.viewers == 0 {
		p.latest = nil
	}
}

// state is the latest model and what is closed when it changes.
func (p *Page) state() ([]byte, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest, p.changed
}
