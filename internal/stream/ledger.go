package stream

import "github.com/pgresync/pgresync/messages"

// retained is one announced part that is still in the bucket.
type retained struct {
	part messages.Part
	// seq is its announcement's sequence in the parts stream.
	seq uint64
}

// ledger decides what stays in the bucket. It is a value without clock,
// network or lock.
type ledger struct {
	parts []retained // in order, without gaps
	next  int        // the index of the part to be announced next
	bytes uint64     // of parts and what is reserved
}

// joinable: a new reader would find the stream from its first byte.
func (l *ledger) joinable() bool {
	return l.next == 0 || len(l.parts) > 0 && l.parts[0].part.Index == 0
}

// consumedBy is how many parts lie below an acknowledgement floor.
func (l *ledger) consumedBy(floor uint64) int {
	n := l.next - len(l.parts)
	for _, p := range l.parts {
		if p.seq > floor {
			break
		}
		n++
	}
	return n
}

// makeRoom reserves need bytes within window. When they do not fit, it gives
// up parts that every reader consumed, oldest first and no more than needed;
// those are returned, to be purged. False: there is no room yet.
func (l *ledger) makeRoom(need, window uint64, consumed int) (evicted []retained, ok bool) {
	fits := func() bool { return l.bytes+need <= window || l.bytes == 0 }
	for !fits() && len(l.parts) > 0 && l.parts[0].part.Index < consumed {
		evicted = append(evicted, l.parts[0])
		l.bytes -= l.parts[0].part.Size
		l.parts = l.parts[1:]
	}
	if !fits() {
		return evicted, false
	}
	l.bytes += need
	return evicted, true
}

// announced turns a reservation into a retained part.
func (l *ledger) announced(p messages.Part, seq uint64) {
	l.parts = append(l.parts, retained{part: p, seq: seq})
	l.next = p.Index + 1
}
