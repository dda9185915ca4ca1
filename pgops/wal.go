package pgops

import (
	"context"
	"fmt"
	"strconv"

	"github.com/pgresync/pgresync/messages"
)

// WALInfo is what a server keeps of its log.
type WALInfo = messages.WALInfo

// WAL says from where on the log is complete in pg_wal, on the line that leads to
// the server's position: segments of abandoned timelines do not count, recycled
// ones ahead of the position neither, and a gap ends the count. It needs
// REPLICATION and pg_monitor.
func (d *Database) WAL(ctx context.Context) (WALInfo, error) {
	var info WALInfo
	err := d.replicating(ctx, "list the WAL of PostgreSQL", func(ctx context.Context, s session) (err error) {
		info, err = s.wal(ctx)
		return err
	})
	if err != nil {
		return WALInfo{}, err
	}
	return info, nil
}

func (s session) wal(ctx context.Context) (info WALInfo, err error) {
	// The names come first: a segment that is recycled while we ask is then counted
	// as still there, for one call, and not as a hole.
	rows, err := s.query(ctx, "SELECT name FROM pg_ls_waldir()")
	if err != nil {
		return info, err
	}
	id, err := s.identity(ctx)
	if err != nil {
		return info, err
	}
	size, err := s.row(ctx, "SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'", 1)
	if err != nil {
		return info, err
	}
	if info.SegmentSize, err = strconv.ParseUint(size[0], 10, 64); err != nil || info.SegmentSize == 0 {
		return info, fmt.Errorf("wal_segment_size %q: want a positive number", size[0])
	}
	names := make([]string, len(rows))
	for i := range rows {
		names[i] = rows[i][0]
	}
	info.Oldest = oldestWAL(names, id.Timeline, id.LSN, info.SegmentSize)
	return info, nil
}

type segment struct {
	timeline messages.Timeline
	number   uint64
}

// oldestWAL walks back from position at along the history h, segment by segment,
// as long as the file that a walsender would open is there. It is at itself when
// not even the file that ends there is.
func oldestWAL(names []string, h messages.TimelineHistory, at messages.LSN, segmentSize uint64) messages.LSN {
	have := map[segment]bool{}
	for _, name := range names {
		if s, ok := parseSegmentName(name, segmentSize); ok {
			have[s] = true
		}
	}
	oldest := at
	if at == 0 {
		return at
	}
	// A position on a boundary belongs to a segment that may not be there yet.
	for n := int64(uint64(at-1) / segmentSize); n >= 0; n-- {
		if !have[segment{timelineOf(h, uint64(n), segmentSize), uint64(n)}] {
			break
		}
		oldest = messages.LSN(uint64(n) * segmentSize)
	}
	return oldest
}

// timelineOf is the timeline whose file holds segment n: the newest that began
// before the segment's end, since a switch copies the beginning of the segment
// into the new timeline's file (walsender.c, WalSndSegmentOpen).
func timelineOf(h messages.TimelineHistory, n, segmentSize uint64) messages.Timeline {
	end := messages.LSN((n + 1) * segmentSize)
	for _, a := range h.Ancestors {
		if end <= a.EndLSN {
			return a.Timeline
		}
	}
	return h.Current
}

// parseSegmentName reads a WAL file's name: timeline, and the number in two
// halves of which the second counts the segments in 4 GiB.
func parseSegmentName(name string, segmentSize uint64) (segment, bool) {
	if len(name) != 24 {
		return segment{}, false
	}
	timeline, err1 := strconv.ParseUint(name[:8], 16, 32)
	high, err2 := strconv.ParseUint(name[8:16], 16, 32)
	low, err3 := strconv.ParseUint(name[16:], 16, 32)
	if err1 != nil || err2 != nil || err3 != nil || segmentSize == 0 {
		return segment{}, false
	}
	return segment{messages.Timeline(timeline), high*((1<<32)/segmentSize) + low}, true
}
