package e2e

import (
	"testing"
)

// TestPromises runs in the order of the list, in one world; each part also runs
// alone, on a world that ready has brought into order.
func TestPromises(t *testing.T) {
	s := newStage(t)
	for _, p := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"two standbys are seeded at once from one upload", s.seedsTwoFromOneUpload},
	} {
		if !t.Run(p.name, p.test) {
			t.Logf("%q failed; what follows may fail because of it", p.name)
		}
	}
}
