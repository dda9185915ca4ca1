package pgops

import (
	"fmt"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// ParseHistoryFile reads the content of a timeline's history file
// (pg_wal/<timeline>.history): one line per ancestor, "timeline TAB switch point
// TAB reason", oldest first; blank lines and those with # are ignored. The
// timelines must increase and lie below the file's own, as PostgreSQL itself
// demands (timeline.c, readTimeLineHistory).
func ParseHistoryFile(timeline messages.Timeline, content []byte) (messages.TimelineHistory, error) {
	h := messages.TimelineHistory{Current: timeline}
	last := messages.Timeline(0)
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return messages.TimelineHistory{}, fmt.Errorf("history of timeline %s: line %q: want a timeline and a position", timeline, clip(line))
		}
		tli, err := parseTimeline(fields[0])
		if err != nil {
			return messages.TimelineHistory{}, fmt.Errorf("history of timeline %s: %w", timeline, err)
		}
		end, err := messages.ParseLSN(fields[1])
		if err != nil {
			return messages.TimelineHistory{}, fmt.Errorf("history of timeline %s: %w", timeline, err)
		}
		if tli <= last || tli >= timeline {
			return messages.TimelineHistory{}, fmt.Errorf("history of timeline %s: timeline %s after %s is out of order", timeline, tli, last)
		}
		last = tli
		h.Ancestors = append(h.Ancestors, messages.TimelineSwitch{Timeline: tli, EndLSN: end})
	}
	return h, nil
}
