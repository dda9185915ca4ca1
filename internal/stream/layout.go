package stream

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// The on-wire layout of an Object Store bucket, ADR-20: chunks are the
// messages of $O.<bucket>.C.<nuid> in the order of the stream; the description
// is the last message of $O.<bucket>.M.<base64url(name)>.

func (s *Store) chunkSubject(nuid string) string { return "$O." + s.ns.Bucket() + ".C." + nuid }

func (s *Store) metaPrefix() string { return "$O." + s.ns.Bucket() + ".M." }

func (s *Store) metaSubject(object string) string {
	return s.metaPrefix() + base64.URLEncoding.EncodeToString([]byte(object))
}

// objectName is the inverse of metaSubject.
func (s *Store) objectName(subject string) (string, bool) {
	enc, ok := strings.CutPrefix(subject, s.metaPrefix())
	if !ok {
		return "", false
	}
	name, err := base64.URLEncoding.DecodeString(enc)
	return string(name), err == nil
}

// attemptOf reads the attempt out of an object name of our making.
func attemptOf(object string) (messages.MessageID, bool) {
	parts := strings.Split(object, "/")
	if len(parts) != 3 {
		return "", false
	}
	var id messages.StreamID
	if id.UnmarshalText([]byte(parts[0])) != nil || !isAttempt(parts[1]) {
		return "", false
	}
	return messages.MessageID(parts[1]), true
}

// isAttempt tells ids of attempts from other text; both kinds of id have the
// same form.
func isAttempt(s string) bool {
	var id messages.ResyncID
	return id.UnmarshalText([]byte(s)) == nil
}

func objectInfo(bucket, object, nuid string, size uint64, chunks, chunkSize int, sum [sha256.Size]byte) jetstream.ObjectInfo {
	return jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{
			Name: object,
			Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(chunkSize)},
		},
		Bucket: bucket,
		NUID:   nuid,
		Size:   size,
		Chunks: uint32(chunks),
		Digest: "SHA-256=" + base64.URLEncoding.EncodeToString(sum[:]),
	}
}

// chain is the running hash over the parts' hashes, messages.Part.Chain: both
// operands are hexadecimal text.
func chain(previous, sum string) string {
	h := sha256.Sum256([]byte(previous + sum))
	return hex.EncodeToString(h[:])
}
