package stream

import (
	"slices"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// queue is of those who wait for a place for an upload. A request lasts a minute,
// an upload may last hours: who asks again finds its place kept. It is a value
// without clock or lock.
type queue []ticket

// ticket is one place in the queue.
type ticket struct {
	waiter
	upload *upload   // nil while the reader is away
	left   time.Time // since when it is
}

// waiter is who waits. The stream may be another one when it comes back: it may
// have got a new token meanwhile.
type waiter struct {
	reader  messages.NodeName
	dataset messages.RelName
}

// placeKept is how long a place is kept for a reader that does not ask. It is more
// than the pauses between its tries.
const placeKept = 5 * time.Minute

// enter gives u the place that its reader had, or the last one.
func (q *queue) enter(who waiter, u *upload, now time.Time) {
	*q = slices.DeleteFunc(*q, func(t ticket) bool { return t.upload == nil && now.Sub(t.left) > placeKept })
	if slices.ContainsFunc(*q, func(t ticket) bool { return t.upload == u }) {
		return
	}
	if i := slices.IndexFunc(*q, func(t ticket) bool { return t.upload == nil && t.waiter == who }); i >= 0 {
		(*q)[i].upload = u
		return
	}
	*q = append(*q, ticket{waiter: who, upload: u})
}

// first is whose turn it is: who is away lets others go before.
func (q *queue) first() *upload {
	for _, t := range *q {
		if t.upload != nil {
			return t.upload
		}
	}
	return nil
}

// stepOut keeps the place while the reader is away.
func (q *queue) stepOut(u *upload, now time.Time) {
	if i := slices.IndexFunc(*q, func(t ticket) bool { return t.upload == u }); i >= 0 {
		(*q)[i].upload, (*q)[i].left = nil, now
	}
}

// leave gives the place up.
func (q *queue) leave(u *upload) {
	*q = slices.DeleteFunc(*q, func(t ticket) bool { return t.upload == u })
}

// len is how many wait and are here.
func (q *queue) len() (n int) {
	for _, t := range *q {
		if t.upload != nil {
			n++
		}
	}
	return n
}
