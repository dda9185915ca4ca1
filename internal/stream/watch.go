package stream

import (
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// standstill is how long an upload has not moved for a reason of its own: its
// source gives no byte, or nothing can be stored. A snapshot is held in place
// meanwhile, so it cannot last for ever (I-9).
type standstill struct {
	moves     uint64
	idle, cut time.Duration
}

// check counts one interval; an error says that it has been enough. Without an
// answer of JetStream nobody waits for readers: none can tell that it took something.
func (s *standstill) check(cfg Config, elapsed time.Duration, moves uint64, answered, waitsForReaders bool) error {
	switch {
	case moves != s.moves || waitsForReaders && answered:
		*s = standstill{moves: moves}
	case answered:
		s.idle += elapsed
	default:
		s.cut += elapsed
	}
	if s.idle > cfg.StallTimeout {
		return fmt.Errorf("nothing moved for %s", s.idle.Round(time.Second))
	}
	if s.cut > cfg.CutTimeout {
		return fmt.Errorf("no connection, or no answer of JetStream, for %s", s.cut.Round(time.Second))
	}
	return nil
}

// stuck watches a running upload; the trouble that is known is the reason.
func (u *upload) stuck(s *standstill, elapsed time.Duration, answered bool) error {
	u.mu.Lock()
	running, paused, trouble := u.rec.State == messages.StreamRunning, u.rec.Paused, u.rec.Error
	u.mu.Unlock()
	if !running {
		return nil
	}
	err := s.check(u.store.cfg, elapsed, u.moves.Load(), u.store.conn.IsConnected() && answered, paused)
	switch {
	case err == nil:
		return nil
	case trouble == "":
		return fmt.Errorf("the source gives no byte: %w", err)
	default:
		return fmt.Errorf("%w: %s", err, trouble)
	}
}

// hinder counts how long a reader has been the one for whom others had to wait:
// they have all there is, and it is what keeps the window full. When that was
// most of the time for the length of the readers' grace, it is to go on by itself,
// with its token and an upload of its own. The caller holds mu.
func (u *upload) hinder(elapsed time.Duration) (slow []messages.NodeName) {
	least, starving := u.ledger.next, false
	for _, r := range u.readers {
		least = min(least, r.consumed)
		starving = starving || r.consumed == u.ledger.next
	}
	for node, r := range u.readers {
		if u.rec.Paused && starving && r.consumed == least && least < u.ledger.next {
			r.hindered += elapsed
		} else {
			r.hindered = max(0, r.hindered-elapsed)
		}
		if r.hindered > u.store.cfg.ReaderGrace {
			slow = append(slow, node)
		}
	}
	return slow
}
