package pgops

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/pgresync/pgresync/messages"
)

// walRecord is one record of the log (PostgreSQL 15, access/xlogrecord.h).
type walRecord struct {
	prev    messages.LSN
	manager byte
	info    byte
	data    []byte // all that follows the header
}

var (
	// errNoRecord: what stands there is not the beginning of a record.
	errNoRecord = errors.New("no record begins there")
	// errPartRecord: it may be one, but not all of it is at hand.
	errPartRecord = errors.New("the record is not there in full")
)

const (
	recordHead = 24
	// firstContinues is the flag of a page that begins in the middle of a record.
	firstContinues = 1
	// longestRecord is PostgreSQL's own bound, and how far back a predecessor may begin.
	longestRecord = 1 << 30
	// maxRecord is what is read of the log to find one record.
	maxRecord = 256 << 10
)

// parseRecord reads the record that begins at position at of raw, the log from
// there on with its page headers.
func parseRecord(raw []byte, at messages.LSN, shape walShape) (walRecord, error) {
	if uint64(at)%shape.block == 0 && len(raw) >= 4 && walOrder.Uint16(raw[2:])&firstContinues != 0 {
		return walRecord{}, fmt.Errorf("%w: a record of the page before goes on", errNoRecord)
	}
	body := unpage(raw, at, shape)
	if len(body) < recordHead {
		return walRecord{}, errPartRecord
	}
	size := uint64(walOrder.Uint32(body))
	r := walRecord{prev: messages.LSN(walOrder.Uint64(body[8:])), info: body[16], manager: body[17]}
	switch {
	case size < recordHead || size > longestRecord:
		return r, fmt.Errorf("%w: its length is %d", errNoRecord, size)
	case r.prev >= at || r.prev != 0 && at.Sub(r.prev) > 2*longestRecord:
		return r, fmt.Errorf("%w: its predecessor would be at %s", errNoRecord, r.prev)
	case size > uint64(len(body)):
		return r, errPartRecord // longer than we read, or torn by a crash of the primary
	}
	body = body[:size]
	sum := crc32.Update(crc32.Checksum(body[recordHead:], castagnoli), castagnoli, body[:20])
	if sum != walOrder.Uint32(body[20:]) {
		return r, fmt.Errorf("%w: its checksum is wrong", errNoRecord)
	}
	r.data = body[recordHead:]
	return r, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unpage strips the page headers. It ends where a page does not go on with a record
// of the page before: after a crash a primary goes on behind what it had begun to
// write (PostgreSQL 15, XLP_FIRST_IS_OVERWRITE_CONTRECORD).
func unpage(raw []byte, at messages.LSN, shape walShape) (body []byte) {
	pos, first := uint64(at), true
	for len(raw) > 0 {
		if pos%shape.block == 0 {
			head := pageHead(pos, shape)
			if uint64(len(raw)) < head || !first && walOrder.Uint16(raw[2:])&firstContinues == 0 {
				return body
			}
			raw, pos = raw[head:], pos+head
		}
		n := min(shape.block-pos%shape.block, uint64(len(raw)))
		body = append(body, raw[:n]...)
		raw, pos, first = raw[n:], pos+n, false
	}
	return body
}

// pageHead is the size of the header of the page at pos (access/xlog_internal.h).
func pageHead(pos uint64, shape walShape) uint64 {
	if pos%shape.segment == 0 {
		return 40
	}
	return 24
}

// checkpointOf is what a checkpoint record says: where redo begins, and the rest,
// whose layout differs between versions.
func checkpointOf(r walRecord) (redo messages.LSN, rest []byte, ok bool) {
	const short = 255 // XLR_BLOCK_ID_DATA_SHORT: one byte of length follows
	kind := r.info & 0xF0
	if r.manager != 0 || kind != 0x00 && kind != 0x10 || len(r.data) < 2+8 || r.data[0] != short {
		return 0, nil, false
	}
	return messages.LSN(walOrder.Uint64(r.data[2:])), r.data[2+8:], true
}

// holdsTime reports whether one of the aligned numbers of a checkpoint is t; where
// in it the time stands depends on the version.
func holdsTime(rest []byte, t int64) bool {
	for ; len(rest) >= 8; rest = rest[8:] {
		if int64(walOrder.Uint64(rest)) == t {
			return true
		}
	}
	return false
}
