package zfsops

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

// BeginSize is the length in bytes of the record that a send stream begins with
// (dmu_replay_record_t, OpenZFS 2.1 to 2.4, include/sys/zfs_ioctl.h).
const BeginSize = 312

const (
	beginMagic   = 0x2F5bacbac // DMU_BACKUP_MAGIC
	substream    = 1           // DMU_SUBSTREAM: one snapshot; 2 is a package of -R or -I
	objsetZFS    = 2           // DMU_OST_ZFS: a file system; 3 is a volume
	flagClone    = 1           // DRR_FLAG_CLONE
	toNameOffset = 56
)

// Features are the flags of a stream that pgresync looks at
// (DMU_BACKUP_FEATURE_*).
type Features uint64

// The features.
const (
	FeatureEmbedded    Features = 1 << 16
	FeatureLargeBlocks Features = 1 << 19
	FeatureResuming    Features = 1 << 20
	FeatureRedacted    Features = 1 << 21
	FeatureCompressed  Features = 1 << 22
	FeatureRaw         Features = 1 << 24
)

// Begin is what the first record of a send stream says of it.
type Begin struct {
	ByteOrder binary.ByteOrder
	ToGUID    messages.GUID
	// FromGUID is 0 for a full stream.
	FromGUID messages.GUID
	// ToName is the snapshot's name where it was sent from.
	ToName   string
	Features Features
	// Package is true for streams of -R and -I, which hold several snapshots.
	Package bool
	// FileSystem is false for a volume.
	FileSystem bool
	// Clone is true for an increment whose base lies in another dataset of the
	// sender, the origin of the sent one. It can be received only as a new file
	// system (zfs_receive_one, lib/libzfs/libzfs_sendrecv.c).
	Clone bool
}

var errNotBegin = errors.New("not a ZFS send stream")

// ParseBegin reads the BEGIN record from the first BeginSize bytes of a stream,
// of either byte order. The error wraps messages.ErrStreamMismatch.
func ParseBegin(b []byte) (Begin, error) {
	if len(b) < BeginSize {
		return Begin{}, fmt.Errorf("%w: %w: %d bytes, want %d", messages.ErrStreamMismatch, errNotBegin, len(b), BeginSize)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint64(b[8:]) != beginMagic {
		order = binary.BigEndian
	}
	// A record's type comes first: DRR_BEGIN is 0.
	if order.Uint64(b[8:]) != beginMagic || order.Uint32(b) != 0 {
		return Begin{}, fmt.Errorf("%w: %w: wrong magic number", messages.ErrStreamMismatch, errNotBegin)
	}
	info := order.Uint64(b[16:])
	name, _, terminated := bytes.Cut(b[toNameOffset:BeginSize], []byte{0})
	if !terminated {
		return Begin{}, fmt.Errorf("%w: %w: the name does not end", messages.ErrStreamMismatch, errNotBegin)
	}
	return Begin{
		ByteOrder:  order,
		ToGUID:     messages.GUID(order.Uint64(b[40:])),
		FromGUID:   messages.GUID(order.Uint64(b[48:])),
		ToName:     string(name),
		Features:   Features(info >> 2), // DMU_GET_FEATUREFLAGS
		Package:    info&3 != substream, // DMU_GET_STREAM_HDRTYPE
		FileSystem: order.Uint32(b[32:]) == objsetZFS,
		Clone:      order.Uint32(b[36:])&flagClone != 0,
	}, nil
}

// Append encodes the record, for tests that make streams.
func (b *Begin) Append(to []byte) []byte {
	order := b.ByteOrder
	if order == nil {
		order = binary.LittleEndian
	}
	rec := make([]byte, BeginSize)
	order.PutUint64(rec[8:], beginMagic)
	info := uint64(b.Features)<<2 | substream
	if b.Package {
		info = info&^3 | 2
	}
	order.PutUint64(rec[16:], info)
	if b.FileSystem {
		order.PutUint32(rec[32:], objsetZFS)
	}
	if b.Clone {
		order.PutUint32(rec[36:], flagClone)
	}
	order.PutUint64(rec[40:], uint64(b.ToGUID))
	order.PutUint64(rec[48:], uint64(b.FromGUID))
	copy(rec[toNameOffset:BeginSize-1], b.ToName)
	return append(to, rec...)
}

// check compares the record with what was announced (I-5).
func (b *Begin) check(to, from messages.GUID) error {
	switch {
	case to == 0:
		return fmt.Errorf("%w: no target GUID was announced", messages.ErrStreamMismatch)
	case b.Package || !b.FileSystem:
		return fmt.Errorf("%w: want one snapshot of a file system, not a package or a volume (%s)", messages.ErrStreamMismatch, b.ToName)
	case b.ToGUID != to || b.FromGUID != from:
		return fmt.Errorf("%w: its GUIDs are %s from %s, announced were %s from %s", messages.ErrStreamMismatch, b.ToGUID, b.FromGUID, to, from)
	case b.Features&FeatureRedacted != 0:
		return fmt.Errorf("%w: it is redacted, so not a whole copy", messages.ErrStreamMismatch)
	}
	return nil
}

// checkFlags refuses a raw stream for a chain that is not: mixing the two in one
// dataset has corrupted it (openzfs#11688, #12594). The other way round -w says
// nothing of datasets that are not encrypted.
func (b *Begin) checkFlags(flags messages.SendFlags) error {
	if flags == messages.FlagsPlain && b.Features&FeatureRaw != 0 {
		return fmt.Errorf("%w: it is raw, the chain's flags are %q", messages.ErrStreamMismatch, flags)
	}
	return nil
}
