package stream

import (
	"fmt"
	"math"

	"github.com/pgresync/pgresync/messages"
)

// sequence checks that announcements make up one stream: of one attempt,
// without gaps in index and offset, chained, and closed by an end that agrees.
// It is pure; what it refuses never reaches a sink.
type sequence struct {
	rec   messages.StreamRecord
	next  int
	size  uint64
	chain string
}

// part takes the next announcement.
func (s *sequence) part(p *messages.Part) error {
	switch {
	case p.Stream != s.rec.Stream || p.Attempt != s.rec.Attempt:
		return fmt.Errorf("part %d is of stream %s attempt %s, want attempt %s", p.Index, p.Stream, p.Attempt, s.rec.Attempt)
	case p.Index != s.next:
		return fmt.Errorf("part %d was announced where part %d is due", p.Index, s.next)
	case p.Offset != s.size || p.Size > math.MaxInt64-s.size:
		return fmt.Errorf("part %d begins at byte %d, want %d", p.Index, p.Offset, s.size)
	case p.Object != messages.PartObject(p.Stream, p.Attempt, p.Index):
		return fmt.Errorf("part %d is stored as %s, want %s", p.Index, p.Object, messages.PartObject(p.Stream, p.Attempt, p.Index))
	case p.Chain != chain(s.chain, p.SHA256):
		return fmt.Errorf("part %d breaks the chain of hashes", p.Index)
	}
	s.next, s.size, s.chain = s.next+1, s.size+p.Size, p.Chain
	return nil
}

// end takes the end: nil only if the stream is complete.
func (s *sequence) end(e *messages.StreamEnd) error {
	switch {
	case e.Stream != s.rec.Stream || e.Attempt != s.rec.Attempt:
		return fmt.Errorf("end is of stream %s attempt %s, want attempt %s", e.Stream, e.Attempt, s.rec.Attempt)
	case e.Error != "":
		return fmt.Errorf("the writer gave up: %s", e.Error)
	case e.Parts != s.next || e.Size != s.size || s.next == 0:
		return fmt.Errorf("end counts %d parts with %d bytes, %d with %d were received", e.Parts, e.Size, s.next, s.size)
	case e.Chain != s.chain:
		return fmt.Errorf("end has another chain of hashes after %d parts", e.Parts)
	case e.To != s.rec.To || e.From != s.rec.From:
		return fmt.Errorf("end is of snapshots %s to %s, want %s to %s", e.From, e.To, s.rec.From, s.rec.To)
	}
	return nil
}
