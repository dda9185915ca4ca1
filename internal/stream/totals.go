package stream

import "sync/atomic"

// Totals are what a Store or a Reader did since it was made.
type Totals struct {
	// Parts and Bytes were stored, or fetched and verified.
	Parts, Bytes uint64
	// Retries are attempts at a part that came to nothing.
	Retries uint64
}

// totals counts; safe for concurrent use.
type totals struct{ parts, bytes, retries atomic.Uint64 }

func (t *totals) moved(bytes int) {
	t.parts.Add(1)
	t.bytes.Add(uint64(bytes))
}

func (t *totals) now() Totals {
	return Totals{Parts: t.parts.Load(), Bytes: t.bytes.Load(), Retries: t.retries.Load()}
}

// Totals count what all uploads together stored.
func (s *Store) Totals() Totals { return s.totals.now() }

// Totals count what all reads together fetched.
func (r *Reader) Totals() Totals { return r.totals.now() }
