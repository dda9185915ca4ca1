// Package account says what is in a ZFS send stream of a PostgreSQL dataset: it
// reads the stream's records, finds the file that each block belongs to by its
// inode number, which is its object number in ZFS, and sums up by what PostgreSQL
// keeps in such a file. Nothing is estimated: these are the bytes that travel.
package account

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pgresync/pgresync/zfsops"
)

// Record types of a send stream (dmu_replay_record_t, OpenZFS 2.1 to 2.4,
// include/sys/zfs_ioctl.h).
const (
	recordBegin    = 0
	recordObject   = 1
	recordWrite    = 3
	recordSpill    = 7
	recordEmbedded = 8
)

// Object is what a stream holds of one object of a dataset.
type Object struct {
	// Stored is the payload as it travels, compressed or not.
	Stored uint64
	// Logical is the payload as a program reads it.
	Logical uint64
	// Blocks counts the records.
	Blocks uint64
}

// Stream is the content of one stream.
type Stream struct {
	Begin   zfsops.Begin
	Objects map[uint64]*Object
	// Total is the stream's size; what is not payload of blocks is records and
	// the attributes of files.
	Total uint64
}

// Read reads a stream of one snapshot to its end.
func Read(r io.Reader) (*Stream, error) {
	s := &Stream{Objects: map[uint64]*Object{}}
	in := bufio.NewReaderSize(r, 1<<20)
	record := make([]byte, zfsops.BeginSize)
	for {
		if _, err := io.ReadFull(in, record); errors.Is(err, io.EOF) {
			if s.Total == 0 {
				return nil, errors.New("send stream: it is empty")
			}
			return s, nil
		} else if err != nil {
			return nil, fmt.Errorf("send stream at byte %d: %w", s.Total, err)
		}
		if err := s.first(record); err != nil {
			return nil, err
		}
		payload, err := s.take(record)
		if err != nil {
			return nil, fmt.Errorf("send stream at byte %d: %w", s.Total, err)
		}
		if _, err := io.CopyN(io.Discard, in, int64(payload)); err != nil {
			return nil, fmt.Errorf("send stream at byte %d: payload of %d bytes: %w", s.Total, payload, err)
		}
		s.Total += zfsops.BeginSize + payload
	}
}

// first takes the BEGIN record, which tells the byte order.
func (s *Stream) first(record []byte) (err error) {
	if s.Total > 0 {
		return nil
	}
	if s.Begin, err = zfsops.ParseBegin(record); err == nil && s.Begin.Package {
		err = errors.New("send stream: a package of several snapshots; send one snapshot with -i")
	}
	return err
}

// take accounts for one record and returns the length of what follows it.
func (s *Stream) take(b []byte) (payload uint64, err error) {
	o := s.Begin.ByteOrder
	object := o.Uint64(b[8:])
	switch kind := o.Uint32(b); kind {
	case recordBegin:
		return uint64(o.Uint32(b[4:])), nil
	case recordObject:
		return objectPayload(o, b), nil
	case recordWrite:
		logical := o.Uint64(b[32:])
		payload = logical
		if b[50] != 0 {
			payload = o.Uint64(b[96:])
		}
		return payload, s.add(object, payload, logical)
	case recordSpill:
		payload = o.Uint64(b[16:])
		if b[33] != 0 {
			payload = o.Uint64(b[40:])
		}
		return payload, s.add(object, payload, payload)
	case recordEmbedded:
		payload = roundUp(uint64(o.Uint32(b[52:])))
		return payload, s.add(object, payload, uint64(o.Uint32(b[48:])))
	default:
		if kind > 11 {
			return 0, fmt.Errorf("a record of unknown type %d", kind)
		}
		return 0, nil
	}
}

// objectPayload is the length of an object's bonus buffer (DRR_OBJECT_PAYLOAD_SIZE).
func objectPayload(o binary.ByteOrder, b []byte) uint64 {
	if raw := o.Uint32(b[36:]); raw != 0 {
		return uint64(raw)
	}
	return roundUp(uint64(o.Uint32(b[28:])))
}

// add refuses what no block can have, lest a damaged stream has us read for ever.
func (s *Stream) add(object, stored, logical uint64) error {
	const limit = 64 << 20 // far above SPA_MAXBLOCKSIZE, 16 MiB
	if stored > limit || logical > limit {
		return fmt.Errorf("object %d has a block of %d bytes", object, max(stored, logical))
	}
	of := s.Objects[object]
	if of == nil {
		of = &Object{}
		s.Objects[object] = of
	}
	of.Stored += stored
	of.Logical += logical
	of.Blocks++
	return nil
}

func roundUp(n uint64) uint64 { return (n + 7) &^ 7 }
