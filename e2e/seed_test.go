package e2e

import (
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

func (s *stage) seedsTwoFromOneUpload(t *testing.T) {
	// They would seed by themselves too: the trigger makes both begin in one instant.
	for _, n := range []*world.Node{s.db2, s.db3} {
		s.secondary[n] = s.sidecar(t, n, world.Secondary, s.env(n))
	}
	s.wellWithin(t, 4*time.Minute)
	sends := map[string]int{}
	for _, l := range s.db1.Logged(world.Primary, 0, "zfs send starts") {
		if l.Str("base") == "" {
			sends[l.Str("target")]++
		}
	}
	t.Log(sends)
}
