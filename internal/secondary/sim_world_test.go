package secondary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// world is one node and its cluster's publisher, in memory, with the rules that
// matter for a switch: what ZFS refuses, what a boot mounts, what PostgreSQL needs
// to start, and what a primary keeps. Sidecars come and go; the world stays.
type world struct {
	// mu orders what the test looks at before what the service does next; synctest
	// orders the other way only.
	mu     *sync.Mutex
	cfg    Config
	pool   map[messages.Dataset]*fileSystem
	mounts []mounted
	ids    uint64 // GUIDs, transaction groups and copies are drawn from one counter
	server *postmaster
	pub    *publisher

	// startFails and mute say what is wrong with a copy: it does not start, or starts
	// and never streams.
	// keyMissing: the copies are encrypted, and nobody loaded their key.
	keyMissing bool
	startFails func(*pgData) error
	mute       func(*pgData) bool
	// bootStarts is a unit that starts PostgreSQL at boot; bootBackwards mounts ties
	// of mount points in the other order, which ZFS leaves open.
	// connections is max_connections in this node's postgresql.conf, which is not in the
	// data directory if elsewhere.
	connections               int
	elsewhere                 bool
	unloggable                bool // PostgreSQL may not write its log file
	bootStarts, bootBackwards bool
	// stranger holds a mount point busy until then.
	stranger      messages.Dataset
	strangerUntil time.Time
	strangerHides bool

	strikes  map[int]blow
	armed    bool
	points   int
	trace    []string
	life     *life // of the sidecar that runs now
	cutUntil time.Time
	// happens is what somebody else does at a place, nil for nothing.
	happens func(where string)

	// follows, reclones and compares are what the sidecar can do, beside what it always can:
	// point a standby elsewhere, make a copy without a transfer, and hold two logs
	// together.
	follows, reclones, compares bool

	increment uint64 // bytes of each step, as the publisher estimates it

	// hangs is how many of the next downloads bring nothing and do not end by themselves.
	hangs int
	// hesitates is how many of the next snapshots the publisher does not come to take.
	hesitates int

	used uint64 // of the pool; 1 TiB is available

	had     *pgData // what the standby had when the faults began
	keepHad bool    // it must never be destroyed
	moved   map[messages.GUID]int
	broken  []string
	foreign []messages.Dataset // must be there in the end
	tight   bool               // what comes does not fit beside a live copy
	// tightFor is the one dataset that does not fit, "" for all.
	tightFor messages.RelName
	waived   bool  // the mode gives I-3 up
	stuck    error // why the old copy cannot be destroyed, nil when it can
	hooks    hooksRun
	crashed  bool // PostgreSQL was killed by a blow, not by us

	// What the service is given besides, nil for nothing.
	observe     func(messages.Event)
	diagnostics Diagnostics
	log         io.Writer
}

// blow is what happens at a point of the story.
type blow string

const (
	blowKill  blow = "kill the sidecar"
	blowReset blow = "reset the node"
	blowCrash blow = "kill PostgreSQL"
	blowFail  blow = "fail the call"
	blowCut   blow = "cut the network"
	blowStart blow = "start PostgreSQL behind our back"
)

// life is one run of the sidecar. What it asks for after its death has no effect.
type life struct {
	dead bool
	end  context.CancelFunc
}

func (l *life) die() {
	l.dead = true
	l.end()
}

var (
	errDead   = errors.New("simulation: the sidecar is dead")
	errStruck = errors.New("simulation: the call failed")
)

// hand is how one life reaches the world.
type hand struct {
	*world
	l *life
}

// point is a place where something may happen: before and after each effect.
func (h hand) point(ctx context.Context, where string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.l.dead {
		return errDead
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if h.happens != nil {
		h.happens(where)
	}
	h.look(where)
	if !h.armed {
		return nil
	}
	h.points++
	b := h.strikes[h.points]
	h.trace = append(h.trace, where)
	if b == "" {
		return nil
	}
	h.trace[len(h.trace)-1] += " <- " + string(b)
	switch b {
	case blowKill:
		h.l.die()
		return errDead
	case blowReset:
		h.l.die()
		h.reset()
		return errDead
	case blowCrash:
		h.server, h.crashed = nil, true
	case blowFail:
		return errStruck
	case blowStart:
		h.startByOthers()
	case blowCut:
		h.cutUntil = time.Now().Add(time.Minute)
	}
	return nil
}

// act makes one effect between two points.
func (h hand) act(ctx context.Context, where string, effect func() error) error {
	if err := h.point(ctx, where); err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	return h.point(ctx, where+", done")
}

func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// look checks what must hold at every moment.
func (w *world) look(where string) {
	if w.had == nil {
		return
	}
	if w.find(w.had) != "" {
		return
	}
	if w.keepHad {
		w.breaks("%s: I-2: data that is the operator's to remove is gone", where)
	}
	for _, fs := range w.pool {
		if pg := fs.content.pg; pg != nil && pg.streamed {
			return
		}
	}
	if w.waived {
		return
	}
	w.breaks("%s: I-3: what the standby had is gone, and nothing that was proven is there", where)
}

// find is the dataset that holds pg, "" when none does.
func (w *world) find(pg *pgData) messages.Dataset {
	for name, fs := range w.pool {
		if fs.content.pg == pg {
			return name
		}
	}
	return ""
}

// mounted is one mount; of two at the same place the later one hides the other.
type mounted struct {
	at string
	ds messages.Dataset
}

// at resolves a path to the dataset that shows there.
func (w *world) at(path string) (messages.Dataset, bool) {
	best, found := mounted{}, false
	for _, m := range w.mounts {
		if rel, err := filepath.Rel(m.at, path); err == nil && filepath.IsLocal(rel) && (!found || len(m.at) >= len(best.at)) {
			best, found = m, true
		}
	}
	return best.ds, found
}

func (w *world) mountedAt(ds messages.Dataset) (mounted, bool) {
	i := slices.IndexFunc(w.mounts, func(m mounted) bool { return m.ds == ds })
	if i < 0 {
		return mounted{}, false
	}
	return w.mounts[i], true
}

// reset is a power failure and the boot after it: zfs mount -a mounts by mount
// point, and two datasets that want the same place get it one over the other.
func (w *world) reset() {
	w.server, w.mounts, w.strangerUntil = nil, nil, time.Time{}
	var todo []mounted
	for name := range w.pool {
		if mp := w.mountpoint(name); w.canmount(name) == "on" && filepath.IsAbs(mp) {
			todo = append(todo, mounted{mp, name})
		}
	}
	slices.SortFunc(todo, func(a, b mounted) int {
		if c := strings.Compare(a.at, b.at); c != 0 {
			return c
		}
		if w.bootBackwards {
			return strings.Compare(string(b.ds), string(a.ds))
		}
		return strings.Compare(string(a.ds), string(b.ds))
	})
	w.mounts = todo
	w.crashed = true
	if w.bootStarts {
		w.startByOthers()
	}
}

// settled is the end that every story must come to.
func (w *world) settled() bool {
	pg := w.serving()
	return pg != nil && w.streams(pg) == "" && pg.streamed && w.streams(pg) == "" && !time.Now().Before(w.cutUntil)
}

// leftovers lists what nobody needs any more.
func (w *world) leftovers() []string {
	var out []string
	live := w.pool[w.cfg.Dataset.Child(w.pub.home)]
	for name, fs := range w.pool {
		if fs.partial != nil {
			out = append(out, "partial receive in "+string(name))
		}
		if name == w.cfg.next() || name == w.cfg.old() || name == w.cfg.local() {
			out = append(out, string(name))
		}
	}
	for name := range w.pub.slots {
		if live == nil || live.content.pg == nil || live.content.pg.slot != name {
			out = append(out, "slot "+name)
		}
	}
	slices.Sort(out)
	return out
}

// describe is the state and the story so far, its end if it is long.
func (w *world) describe() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(w.pool)) {
		fs := w.pool[name]
		m, _ := w.mountedAt(name)
		fmt.Fprintf(&b, "%s canmount=%s mountpoint=%s mounted=%s copy=%s origin=%s", name, w.canmount(name), w.mountpoint(name), m.at, fs.content.copy, fs.origin)
		if fs.content.pg != nil {
			fmt.Fprintf(&b, " %+v", *fs.content.pg)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "slots %v\n", w.pub.slots)
	for i, line := range w.trace[:min(len(w.trace), 1200)] {
		fmt.Fprintf(&b, "%4d %s\n", i+1, line)
	}
	return b.String()
}

// clone is a world of its own in the same state.
func (w *world) clone() *world {
	out := *w
	out.mu, out.hooks = &sync.Mutex{}, hooksRun{}
	out.pool = map[messages.Dataset]*fileSystem{}
	for name, fs := range w.pool {
		c := *fs
		c.local, c.content = maps.Clone(fs.local), fs.content.clone(fs.content.copy)
		c.snaps = nil
		for _, s := range fs.snaps {
			snap := *s
			snap.local, snap.content = maps.Clone(s.local), s.content.clone(s.content.copy)
			c.snaps = append(c.snaps, &snap)
		}
		out.pool[name] = &c
	}
	pub := *w.pub
	pub.slots, pub.contents, pub.shots = maps.Clone(pub.slots), maps.Clone(pub.contents), slices.Clone(pub.shots)
	out.pub = &pub
	if w.server != nil {
		server := *w.server
		out.server = &server
	}
	out.mounts, out.foreign = slices.Clone(w.mounts), slices.Clone(w.foreign)
	out.moved, out.strikes = map[messages.GUID]int{}, map[int]blow{}
	return &out
}
