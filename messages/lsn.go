package messages

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log, in bytes since its beginning.
// Order is the order of the integers; the text form is PostgreSQL's "hi/lo"
// in hexadecimal (PostgreSQL 15, datatype-pg-lsn).
type LSN uint64

// ParseLSN reads the text form of PostgreSQL, "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers with a slash between, like 16/B374D848", clip(s))
	}
	h, errHi := parseHex32(hi)
	l, errLo := parseHex32(lo)
	if errHi != nil || errLo != nil {
		return 0, fmt.Errorf("parse LSN %q: each half is 1 to 8 hexadecimal digits", clip(s))
	}
	return LSN(h<<32 | l), nil
}

func parseHex32(s string) (uint64, error) {
	// strconv accepts a sign and underscores in some bases; PostgreSQL does not.
	if len(s) == 0 || len(s) > 8 || strings.ContainsAny(s, "+-_") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 16, 32)
}

// String is PostgreSQL's text form.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint64(l)&0xFFFFFFFF) }

// MarshalText writes the form that ParseLSN reads.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads PostgreSQL's text form.
func (l *LSN) UnmarshalText(b []byte) error {
	v, err := ParseLSN(string(b))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// Sub is the distance in bytes from an earlier position o to l, 0 when o is not
// earlier.
func (l LSN) Sub(o LSN) uint64 {
	if l <= o {
		return 0
	}
	return uint64(l - o)
}

// SegmentStart is the first position of the WAL segment file that holds l.
// segmentSize is in bytes (16 MiB unless initdb was told otherwise); 0 returns l.
func (l LSN) SegmentStart(segmentSize uint64) LSN {
	if segmentSize == 0 {
		return l
	}
	return LSN(uint64(l) - uint64(l)%segmentSize)
}

// Timeline is a branch of a cluster's history. A promotion starts the next one.
type Timeline uint32

// String is decimal, as in PostgreSQL's own messages.
func (t Timeline) String() string { return strconv.FormatUint(uint64(t), 10) }

// TimelineSwitch says where a timeline of the past ended.
type TimelineSwitch struct {
	Timeline Timeline `json:"timeline"`
	// EndLSN is where the next timeline forked off.
	EndLSN LSN `json:"end_lsn"`
}

// TimelineHistory is a timeline with its ancestors, oldest first: what PostgreSQL
// keeps in pg_wal/<timeline>.history.
type TimelineHistory struct {
	Current   Timeline         `json:"current"`
	Ancestors []TimelineSwitch `json:"ancestors,omitempty"`
}

// ForkPoint reports where timeline t was left on the way to h.Current. The
// second result is false when t is neither h.Current nor an ancestor of it. For
// the current timeline the fork point is the end of the log (the greatest LSN).
func (h TimelineHistory) ForkPoint(t Timeline) (LSN, bool) {
	if t == h.Current {
		return ^LSN(0), true
	}
	for _, a := range h.Ancestors {
		if a.Timeline == t {
			return a.EndLSN, true
		}
	}
	return 0, false
}

// Contains reports whether a server that stands at lsn on timeline t is on this
// history's line, so that it can follow it without going back.
func (h TimelineHistory) Contains(t Timeline, lsn LSN) bool {
	fork, ok := h.ForkPoint(t)
	return ok && lsn <= fork
}

func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
