package plan

import (
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

// stand is where a standby stands in the log.
type stand struct {
	timeline messages.Timeline
	// lsn is the end of what was replayed: only that decides on divergence. WAL that
	// was received but not replayed beyond a fork (the torn end of a crashed primary's
	// log) is dropped by PostgreSQL when it follows the new timeline.
	lsn messages.LSN
	// need is the position in whose segment the next request to the primary starts.
	need messages.LSN
}

// stand reads the position off the best source there is.
func (f Facts) stand() stand {
	s := stand{timeline: f.Streamed}
	if f.Control != nil {
		s.timeline = max(s.timeline, f.Control.Timeline)
		s.timeline = max(s.timeline, f.Control.MinRecoveryTimeline)
		// The last restart point may lie before a promotion that was replayed since.
		s.lsn = max(f.Control.CheckpointLSN, f.Control.MinRecoveryLSN)
		s.need = s.lsn
	}
	if f.Local != nil {
		// Timelines only grow along one copy's life: the greatest known is the newest.
		s.timeline = max(s.timeline, f.Local.Timeline.Current)
		s.lsn, s.need = f.Local.LSN, f.Local.LSN
	}
	if r := f.Receiver; r != nil {
		s.timeline = max(s.timeline, r.Timeline)
		if r.ReplayLSN != 0 {
			s.lsn = r.ReplayLSN
		}
		s.need = s.lsn
		// At rest PostgreSQL asks for the segment of the first incomplete record, which
		// is at the replay position. A gap of more than a segment means that there is
		// local WAL still to be replayed (a delayed standby), and the need begins after it.
		if size := f.segmentSize(); r.ReceiveLSN.SegmentStart(size).Sub(s.lsn.SegmentStart(size)) > size {
			s.need = r.ReceiveLSN
		}
	}
	return s
}

// surely is a position up to which somebody has written the log that led to lsn. A
// server that has replayed a switch to the next segment, which every snapshot makes,
// says that it stands at the end of the old one (xlogreader.c, XLOG_SWITCH). Its
// primary may be writing the zeros up to there still, and says where it writes.
func (f Facts) surely(lsn messages.LSN) messages.LSN {
	size := f.segmentSize()
	if start := lsn.SegmentStart(size); start != lsn || uint64(lsn) < size {
		return lsn
	}
	return lsn - messages.LSN(size)
}

func (f Facts) segmentSize() uint64 {
	if f.Primary != nil && f.Primary.WALSegmentSize != 0 {
		return f.Primary.WALSegmentSize
	}
	return 16 << 20
}

// newer: this standby has followed a promotion that the publisher has no part in. A
// higher timeline wins, never a lower one: which of the two nodes is right is for a
// person to say, unless the promoted one begins to publish.
func newer(f Facts, p Policy) (Diagnosis, bool) {
	s, h := f.stand(), f.Primary.Identity.Timeline
	if s.timeline <= h.Current {
		return Diagnosis{}, false
	}
	if f.Local == nil && f.StartFailures < startsBeforeResync {
		return serverDown(f, p)
	}
	return verdict(messages.VerdictNeedsOperator, messages.ReasonDiverged,
		"this standby is at %s on timeline %s, newer than timeline %s of %s, which publishes", s.lsn, s.timeline, h.Current, f.Primary.Node).
		remedy("let the node that was promoted to timeline %s publish (its primary sidecar must run); if %s is right: %s", s.timeline, f.Primary.Node, f.trigger()), true
}

func diverged(f Facts, _ Policy) (Diagnosis, bool) {
	s := f.stand()
	if s.timeline == 0 || s.lsn == 0 {
		return Diagnosis{}, false
	}
	h := f.Primary.Identity.Timeline
	if s.timeline == h.Current && f.surely(s.lsn) > f.Primary.Identity.LSN {
		return verdict(messages.VerdictResync, messages.ReasonDiverged,
			"this standby is at %s on timeline %s, past the end %s of the log of the primary %s on the same timeline",
			s.lsn, s.timeline, f.Primary.Identity.LSN, f.Primary.Node), true
	}
	if h.Contains(s.timeline, s.lsn) {
		return Diagnosis{}, false
	}
	return offHistory(f, s), true
}

func offHistory(f Facts, s stand) Diagnosis {
	h := f.Primary.Identity.Timeline
	if fork, ok := h.ForkPoint(s.timeline); ok {
		return verdict(messages.VerdictResync, messages.ReasonDiverged,
			"this standby is at %s on timeline %s, which the primary %s (timeline %s) left at %s",
			s.lsn, s.timeline, f.Primary.Node, h.Current, fork)
	}
	return verdict(messages.VerdictResync, messages.ReasonDiverged,
		"this standby is at %s on timeline %s, which is not in the history of the primary %s (timeline %s)",
		s.lsn, s.timeline, f.Primary.Node, h.Current)
}

// slot finds the live copy's slot. known is false when the copy has none of
// ours, and then nothing follows from its absence.
func (f Facts) slot() (s messages.SlotState, there, known bool) {
	if f.SlotName == "" {
		return messages.SlotState{}, false, false
	}
	for _, s := range f.Primary.Slots {
		if s.Name == f.SlotName {
			return s, true, true
		}
	}
	return messages.SlotState{}, false, true
}

// available reports whether the primary still has the WAL that s needs. Without
// a position, or without word of the oldest segment, it counts as available.
func (f Facts) available(s stand) bool {
	size := f.segmentSize()
	if s.need == 0 || f.Primary.OldestWAL <= s.need.SegmentStart(size) {
		return true
	}
	for _, slot := range f.Primary.Slots {
		if slot.Keeps(s.need, size) {
			return true
		}
	}
	return false
}

func walGone(f Facts, _ Policy) (Diagnosis, bool) {
	s := f.stand()
	if f.available(s) {
		return Diagnosis{}, false
	}
	slot, there, known := f.slot()
	lost := known && (!there || slot.WALStatus == messages.WALLost)
	gap := fmt.Sprintf("this standby needs the WAL from %s, the oldest on the primary %s is %s",
		s.need.SegmentStart(f.segmentSize()), f.Primary.Node, f.Primary.OldestWAL)
	switch {
	case lost && there:
		return verdict(messages.VerdictResync, messages.ReasonSlotLost, "%s; its slot %s is lost", gap, f.SlotName), true
	case f.Local == nil:
		// pg_control is a lower bound only: a stopped standby may have more WAL of its
		// own. Only a lost slot, which had followed it, proves the gap.
		return Diagnosis{}, false
	case lost:
		return verdict(messages.VerdictResync, messages.ReasonSlotLost, "%s; its slot %s is missing", gap, f.SlotName), true
	}
	return verdict(messages.VerdictResync, messages.ReasonWALGone, "%s", gap), true
}

func slotGone(f Facts, _ Policy) (Diagnosis, bool) {
	slot, there, known := f.slot()
	if !known || there && slot.WALStatus != messages.WALLost {
		return Diagnosis{}, false
	}
	what := "slot missing"
	if there {
		what = "slot lost"
	}
	reason := messages.ReasonNotStreaming
	if f.Local == nil {
		reason = messages.ReasonServerDown
	}
	d := verdict(messages.VerdictWait, reason, "%s: %s on the primary %s, which still has the WAL at %s",
		what, f.SlotName, f.Primary.Node, f.stand().need)
	d.Cure = CureReserveSlot
	return d, true
}
