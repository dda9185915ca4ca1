package messages

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// idEncoding is Crockford's base 32 in lower case, so that ids sort by time as
// text and are legal in dataset, slot, object and subject names.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const idLen = 24 // 15 bytes: 6 of milliseconds, 9 of randomness

// SnapshotID is one bracket's id. It is part of the ZFS snapshots' name.
type SnapshotID string

// ResyncID is one resync's id: log key, hold tag, slot suffix.
type ResyncID string

// MessageID identifies a document, and is its Nats-Msg-Id.
type MessageID string

// NewSnapshotID draws an id that sorts after every earlier one (by milliseconds).
func NewSnapshotID(now time.Time) SnapshotID { return SnapshotID(newID(now)) }

// NewResyncID draws an id that sorts after every earlier one (by milliseconds).
func NewResyncID(now time.Time) ResyncID { return ResyncID(newID(now)) }

// NewMessageID draws an id that sorts after every earlier one (by milliseconds).
func NewMessageID(now time.Time) MessageID { return MessageID(newID(now)) }

func newID(now time.Time) string {
	var b [15]byte
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	_, _ = rand.Read(b[6:]) // never fails since Go 1.24
	return idEncoding.EncodeToString(b[:])
}

// Time is when the id was drawn, by the clock of the node that did; false when it
// is not a snapshot id.
func (i SnapshotID) Time() (time.Time, bool) {
	if checkID("snapshot id", string(i)) != nil {
		return time.Time{}, false
	}
	b, err := idEncoding.DecodeString(string(i))
	if err != nil {
		return time.Time{}, false
	}
	var ms uint64
	for _, c := range b[:6] {
		ms = ms<<8 | uint64(c)
	}
	return time.UnixMilli(int64(ms)), true
}

func checkID(what, s string) error {
	if len(s) != idLen || strings.Trim(s, "0123456789abcdefghjkmnpqrstvwxyz") != "" {
		return fmt.Errorf("%s %q: want %d characters of Crockford's base 32 in lower case", what, clip(s), idLen)
	}
	return nil
}

// UnmarshalText parses and checks; the empty text is no snapshot, and a document
// that must have one says so in Validate.
func (i *SnapshotID) UnmarshalText(b []byte) error {
	if *i = SnapshotID(b); *i == "" {
		return nil
	}
	return checkID("snapshot id", string(b))
}

// UnmarshalText parses and checks; the empty text is no resync.
func (i *ResyncID) UnmarshalText(b []byte) error {
	if *i = ResyncID(b); *i == "" {
		return nil
	}
	return checkID("resync id", string(b))
}

// snapshotPrefix begins the short name of every snapshot and bookmark of ours.
const snapshotPrefix = "pgresync-"

// ShortName is the part of the snapshots' names after '@'.
func (i SnapshotID) ShortName() string { return snapshotPrefix + string(i) }

// InheritedName is the short name of the bookmark that a clone has of a version of
// what it descends from. clone is the clone's own GUID: bookmarks of one name in two
// datasets of a chain would halt the pool when one is promoted
// (docs/adr/0010-what-a-promoted-node-offers.md).
func (i SnapshotID) InheritedName(clone GUID) string {
	return i.ShortName() + "." + strconv.FormatUint(uint64(clone), 36)
}

// SnapshotIDOf reads the id out of a snapshot's or bookmark's name, false when
// the name is not of our making.
func SnapshotIDOf(n SnapshotName) (SnapshotID, bool) {
	s, ok := strings.CutPrefix(n.Short(), snapshotPrefix)
	if n.IsBookmark() {
		id, clone, inherited := strings.Cut(s, ".")
		if inherited && (clone == "" || strings.Trim(clone, "0123456789abcdefghijklmnopqrstuvwxyz") != "") {
			return "", false
		}
		s = id
	}
	if !ok || checkID("snapshot id", s) != nil {
		return "", false
	}
	return SnapshotID(s), true
}

// StreamID names one stream: what moves, not who asked. Equal requests have
// equal ids, which is how N standbys come to share one send.
type StreamID string

// NewStreamID hashes what determines the bytes of a stream: the target and base
// snapshots, the flags, and the token of a resumed receive.
func NewStreamID(to, from GUID, flags SendFlags, token ResumeToken, recipients ...string) StreamID {
	text := fmt.Appendf(nil, "%d %d %s %s", to, from, flags, token)
	for _, r := range recipients {
		text = append(append(text, ' '), r...)
	}
	h := sha256.Sum256(text)
	return StreamID(hex.EncodeToString(h[:16]))
}

// UnmarshalText parses and checks; the empty text is no stream.
func (i *StreamID) UnmarshalText(b []byte) error {
	if *i = StreamID(b); *i == "" {
		return nil
	}
	if len(b) != 32 || strings.Trim(string(b), "0123456789abcdef") != "" {
		return fmt.Errorf("stream id %q: want 32 hexadecimal digits in lower case", clip(string(b)))
	}
	return nil
}
