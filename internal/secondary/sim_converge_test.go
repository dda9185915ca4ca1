package secondary

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// WAL is not kept for the whole of an increment that takes long, as after a week
// without the standby: only for the pass after it, which is short.
func TestTheSlotIsReservedBeforeAShortPassOnly(t *testing.T) {
	if theSeeded == nil {
		seedOnce(t)
	}
	const mib, tib = 1 << 20, 1 << 40
	for name, tt := range map[string]struct {
		sizes    []uint64 // of the increments, each pass' as the publisher estimates it
		reserved []bool   // what holds while each is received
	}{
		"a short increment":                   {[]uint64{mib}, []bool{true}},
		"a long increment":                    {[]uint64{tib, mib}, []bool{false, true}},
		"two long increments":                 {[]uint64{2 * tib, tib, mib}, []bool{false, false, true}},
		"long ones that do not get shorter":   {[]uint64{tib, tib, tib}, []bool{false, false, true}},
		"the publisher cannot say":            {[]uint64{0, 0}, []bool{false, true}},
		"the publisher cannot say, then long": {[]uint64{0, tib, mib}, []bool{false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := theSeeded.clone()
				must(t, wait(t.Context(), time.Hour))
				clear(w.pub.slots)
				w.pub.write(10)
				var reserved []bool
				w.increment = tt.sizes[0]
				w.observe = func(e messages.Event) {
					if e.Resync == nil || e.Resync.Phase != messages.PhaseReceiving {
						return
					}
					_, held := w.pub.slots[messages.SlotName("db2", e.Resync.ID)]
					reserved = append(reserved, held)
					w.increment = tt.sizes[min(len(reserved), len(tt.sizes)-1)]
				}
				if !w.run(t, false, func() bool { return w.happy(t) && len(reserved) > 0 }) {
					t.Fatal(w.describe())
				}
				if !slices.Equal(reserved, tt.reserved) {
					t.Errorf("passes with a slot: %v, want %v", reserved, tt.reserved)
				}
			})
		})
	}
}
