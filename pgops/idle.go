package pgops

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// idle keeps one connection between calls.
type idle struct {
	mu   sync.Mutex
	conn *pgx.Conn
}

// take hands the kept connection out, nil when there is none.
func (i *idle) take() *pgx.Conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	conn := i.conn
	i.conn = nil
	return conn
}

// put keeps a connection, and reports false when one is kept already.
func (i *idle) put(conn *pgx.Conn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.conn != nil || conn.IsClosed() {
		return false
	}
	i.conn = conn
	return true
}

// known is what does not change while a postmaster runs as a primary on one
// timeline: its identifier and its history.
type known struct {
	mu       sync.Mutex
	started  time.Time
	identity messages.Identity
}

// primary returns the identity that was learned, with a new position, if the server
// is still the same primary on the same timeline.
func (k *known) primary(started time.Time, timeline messages.Timeline, lsn messages.LSN) (messages.Identity, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := k.identity
	if id.Role != messages.RolePrimary || !k.started.Equal(started) || id.Timeline.Current != timeline {
		return messages.Identity{}, false
	}
	id.LSN = lsn
	return id, true
}

func (k *known) learn(started time.Time, id messages.Identity) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.started, k.identity = started, id
}
