package plan

import (
	"time"

	"github.com/pgresync/pgresync/messages"
)

// SlotPolicy says when a slot that nobody uses is abandoned.
type SlotPolicy struct {
	// Idle is for how long a slot may keep WAL unused; Xmin for how long one may that
	// holds back vacuum, too.
	Idle, Xmin time.Duration
}

// IdleSlot is since when a slot is unused, and where it stood when it was seen last.
type IdleSlot struct {
	Since      time.Time
	RestartLSN messages.LSN
}

// AbandonedSlots finds the slots to drop. idle is what was seen unused, from the
// previous call; the new one is returned. The server's own word, if it gives one,
// reaches back beyond our start, and not beyond its own: a later time is believed only
// of a slot that has moved, which was used, or made again, while nobody looked.
//
// A standby whose slot was dropped loses nothing as long as the WAL is there, since
// it has the slot made again; after that it is resynced by an increment.
func AbandonedSlots(slots []messages.SlotUse, idle map[string]IdleSlot, p SlotPolicy, now time.Time) (drop []messages.SlotUse, seen map[string]IdleSlot) {
	seen = map[string]IdleSlot{}
	for _, s := range slots {
		if s.Active {
			continue
		}
		was, ok := idle[s.Name]
		since := was.Since
		moved := s.RestartLSN != 0 && s.RestartLSN != was.RestartLSN
		if !ok || moved || since.After(now) {
			since = now
		}
		if !s.InactiveSince.IsZero() && s.InactiveSince.Before(since) {
			since = s.InactiveSince
		}
		seen[s.Name] = IdleSlot{Since: since, RestartLSN: s.RestartLSN}
		limit := p.Idle
		if s.HoldsXmin {
			limit = min(limit, p.Xmin)
		}
		if now.Sub(since) >= limit {
			drop = append(drop, s)
		}
	}
	return drop, seen
}
