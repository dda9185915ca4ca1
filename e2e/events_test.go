package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

const followed = "events"

// follow subscribes to the events with the stock command, once.
func (s *stage) follow(t testing.TB) {
	t.Helper()
	if s.follower != nil {
		return
	}
	p, err := s.w.FollowNATS(t.Context(), followed, "sub", "pgresync.main.event.>")
	must(t, err)
	s.follower = p
	must(t, world.Until(t.Context(), "the subscription", patience, func(context.Context) (bool, string) {
		text := s.printed(t)
		return strings.Contains(text, "Subscribing on pgresync.main.event.>"), text
	}))
}

func (s *stage) printed(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.out, "bridge", followed+".log"))
	must(t, err)
	return string(b)
}

// eventsAreReadable: what the stock command prints are documents, one a line, that
// say in words what happened.
func (s *stage) eventsAreReadable(t part) {
	s.ready(t)
	s.follow(t)
	s.snapshot(t)
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	seen := map[messages.EventType]int{}
	must(t, world.Until(t.Context(), "the events", patience, func(context.Context) (bool, string) {
		clear(seen)
		for line := range strings.SplitSeq(s.printed(t), "\n") {
			if !strings.HasPrefix(line, "{") {
				continue
			}
			var e messages.Event
			if err := messages.Decode([]byte(line), &e); err != nil || e.Text == "" {
				continue // the last line may not be whole yet
			}
			seen[e.Type]++
		}
		return seen[messages.EventSnapshotReady] > 0 && seen[messages.EventPhase] > 0 && seen[messages.EventRejoined] > 0, fmt.Sprint(seen)
	}))
	t.Log(seen)
	s.wellWithin(t)
}
