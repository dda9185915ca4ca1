package plan

import (
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

// MaxReclone is the most WAL that a copy of the last pass may have to replay before
// an increment is the better cure: it would be replayed faster than it was written,
// but not in no time.
const MaxReclone = 1 << 30

// Reclone says whether a copy made of what the lineage has, without any transfer,
// could stream: pass is the plan to bring the lineage to m, and f is what the
// publisher has. why is what speaks against it. Whether its WAL stays is proven by
// a slot that is reserved from m's start, and once more before the switch (I-8);
// this is what must hold before one is asked for.
func Reclone(m *messages.Manifest, pass PassPlan, f *messages.PrimaryFacts) (ok bool, why string) {
	id, size := f.Identity, f.WALSegmentSize
	for _, d := range m.Travelling() {
		// A primary that lost what it had sent does not have the snapshot any more.
		if _, known := f.History(d.Name).ByGUID(d.GUID); !known {
			return false, fmt.Sprintf("the publisher does not know snapshot %s of %q", d.GUID, d.Name)
		}
	}
	switch {
	case pass.Kind != messages.PassNone || pass.NewBranch || len(pass.Remove) > 0:
		return false, "the lineage does not have all of it"
	case id.SystemID != m.SystemID || id.Role != messages.RolePrimary || size == 0 || size != m.WALSegmentSize:
		return false, "it is of another cluster"
	case id.Timeline.Current != m.Timeline.Current || m.StopLSN > id.LSN:
		return false, fmt.Sprintf("the primary is on timeline %s at %s, it is of timeline %s at %s", id.Timeline.Current, id.LSN, m.Timeline.Current, m.StopLSN)
	case f.OldestWAL == 0 || f.OldestWAL > m.StartLSN.SegmentStart(size):
		return false, fmt.Sprintf("it needs the WAL from %s, the oldest there is %s", m.StartLSN, f.OldestWAL)
	case id.LSN.Sub(m.StartLSN) > MaxReclone:
		return false, fmt.Sprintf("%d bytes of WAL would have to be replayed", id.LSN.Sub(m.StartLSN))
	}
	return true, ""
}
