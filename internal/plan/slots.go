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

// AbandonedSlots finds the slots to drop. idle is when each slot was first seen
// unused, from the previous call; the new one is returned. The server's own word, if
// it gives one, reaches back beyond our start.
//
// A standby whose slot was dropped loses nothing as long as the WAL is there, since
// it has the slot made again; after that it is resynced by an increment.
func AbandonedSlots(slots []messages.SlotUse, idle map[string]time.Time, p SlotPolicy, now time.Time) (drop []messages.SlotUse, seen map[string]time.Time) {
	seen = map[string]time.Time{}
	for _, s := range slots {
		if s.Active {
			continue
		}
		since, ok := idle[s.Name]
		if !ok || since.After(now) {
			since = now
		}
		if !s.InactiveSince.IsZero() && s.InactiveSince.Before(since) {
			since = s.InactiveSince
		}
		seen[s.Name] = since
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
