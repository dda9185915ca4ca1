package page

import (
	"slices"
	"sync"

	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

// journal remembers recent events, of whatever order they come in, each once.
type journal struct {
	mu     sync.Mutex
	events []messages.Event // oldest first
	latest map[messages.NodeName]news
}

// news is the latest that a node said of its resync.
type news struct{ resync, transfer messages.Event }

func (j *journal) note(e messages.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.latest == nil {
		j.latest = map[messages.NodeName]news{}
	}
	n := j.latest[e.Node]
	if e.Resync != nil && e.At.After(n.resync.At) {
		n.resync = e
	}
	if e.Transfer != nil && e.At.After(n.transfer.At) {
		n.transfer = e
	}
	j.latest[e.Node] = n
	// Progress is shown as a bar, not as fifty lines.
	if e.Transfer != nil && e.Transfer.Trouble == "" {
		return
	}
	if slices.ContainsFunc(j.events, func(o messages.Event) bool { return o.ID == e.ID }) {
		return
	}
	i, _ := slices.BinarySearchFunc(j.events, e, func(a, b messages.Event) int { return a.At.Compare(b.At) })
	j.events = slices.Insert(j.events, i, e)
	j.events = j.events[max(0, len(j.events)-mostEvents):]
}

// lines are the events, newest first.
func (j *journal) lines() []line {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]line, 0, len(j.events))
	for _, e := range slices.Backward(j.events) {
		out = append(out, line{e.At, e.Type, e.Node, e.Text})
	}
	return out
}

// into brings what presence says up to date, and adds nodes that are only known by
// their events.
func (j *journal) into(f *operator.Facts) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for node, n := range j.latest {
		if at := later(n.resync, n.transfer).At; at.After(f.Seen[node]) {
			f.Seen[node] = at
		}
	}
	for i := range f.Sidecars {
		s := &f.Sidecars[i]
		n, known := j.latest[s.Node]
		if s.Sidecar != messages.SidecarSecondary || !known {
			continue
		}
		if n.resync.At.After(s.At) {
			s.Phase, s.Last = n.resync.Resync.Phase, n.resync.Resync
		}
		switch t := n.transfer; {
		case s.Phase != messages.PhaseReceiving:
			s.Transfer = nil
		case t.At.After(s.At) && t.At.After(n.resync.At) && t.Transfer.Trouble == "":
			s.Transfer = t.Transfer
		}
	}
}

func later(a, b messages.Event) messages.Event {
	if b.At.After(a.At) {
		return b
	}
	return a
}
