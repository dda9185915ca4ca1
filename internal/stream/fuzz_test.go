package stream

import (
	"math"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// Announcements come from the network, and what passes decides what zfs recv gets.
func FuzzAnnouncements(f *testing.F) {
	const stream, attempt = "0123456789abcdef0123456789abcdef", "06dkx6g0g800000000000003"
	rec := messages.StreamRecord{V: 1, Stream: stream, Cluster: "main", Node: "db1", To: 2, From: 1, Attempt: attempt}
	sum := chain("", "")
	part := messages.Part{
		V: 1, Stream: stream, Attempt: attempt, Size: 10, Object: messages.PartObject(stream, attempt, 0), Nuid: "x", Chunks: 1, SHA256: sum, Chain: chain("", sum),
	}
	end := messages.StreamEnd{V: 1, Stream: stream, Attempt: attempt, Parts: 1, Size: 10, Chain: part.Chain, To: 2, From: 1}
	for _, d := range []messages.Document{&part, &end} {
		b, err := messages.Encode(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := sequence{rec: rec}
		for _, b := range [][]byte{first, second} {
			var p messages.Part
			if messages.Decode(b, &p) == nil && s.part(&p) == nil && (p.Stream != stream || p.Attempt != attempt || s.size > math.MaxInt64 || p.Size > messages.MaxPartSize) {
				t.Errorf("part %+v passed", p)
			}
			var e messages.StreamEnd
			if messages.Decode(b, &e) == nil && s.end(&e) == nil && (e.Parts != s.next || e.Chain != s.chain || e.To != 2 || e.From != 1) {
				t.Errorf("end %+v passed after %d parts", e, s.next)
			}
		}
	})
}
