package resync_test

import (
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// The journal is a property of a dataset, which an operator can set by hand.
func FuzzJournal(f *testing.F) {
	j := resync.NewJournal()
	idle, err := messages.Encode(&j)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(idle)
	f.Add([]byte(`{"v":1,"phase":"switching"}`))
	f.Add([]byte(`{"v":1,"phase":"no such"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var j, again resync.Journal
		if messages.Decode(b, &j) != nil {
			return
		}
		out, err := messages.Encode(&j)
		if err != nil {
			t.Fatalf("a journal that was read cannot be written: %v", err)
		}
		if err := messages.Decode(out, &again); err != nil {
			t.Fatalf("a journal that was written cannot be read: %v: %s", err, out)
		}
		_ = j.Named()
		j.Clip()
		j.Begin(time.Unix(0, 0))
	})
}
