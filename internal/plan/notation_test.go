package plan_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// Histories are written like "@a1 #b2": a snapshot with identity a in txg 1, a
// bookmark with identity b in txg 2. Lower case are ours, upper case foreign.
func history(tb testing.TB, s string) messages.History {
	tb.Helper()
	var h messages.History
	for f := range strings.FieldsSeq(s) {
		txg, err := strconv.ParseUint(f[2:], 10, 64)
		if err != nil || f[0] != '@' && f[0] != '#' {
			tb.Fatalf("notation %q: want like @a1 or #b2", f)
		}
		h = append(h, version(f[1], messages.TXG(txg), f[0] == '#'))
	}
	return h
}

func guid(c byte) messages.GUID { return messages.GUID(c) }

// idOf is the snapshot id of a lower case identity.
func idOf(c byte) messages.SnapshotID {
	return messages.SnapshotID(strings.Repeat("0", 23) + string("0123456789abcdefghjkmnpqrstvwxyz"[c%32]))
}

func version(c byte, txg messages.TXG, bookmark bool) messages.Snapshot {
	short, sep := "hourly-"+string(c), "@"
	if c >= 'a' && c <= 'z' {
		short = idOf(c).ShortName()
	}
	if bookmark {
		sep = "#"
	}
	return messages.Snapshot{Name: messages.SnapshotName("tank/pg" + sep + short), GUID: guid(c), CreateTXG: txg, Bookmark: bookmark}
}

// write is the notation of h.
func write(h []messages.Snapshot) string {
	out := make([]string, 0, len(h))
	for _, s := range h {
		sep := "@"
		if s.Bookmark {
			sep = "#"
		}
		out = append(out, fmt.Sprintf("%s%c%d", sep, rune(s.GUID), s.CreateTXG))
	}
	return strings.Join(out, " ")
}
