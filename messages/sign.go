package messages

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrUntrusted is about a document that is not signed, or not by a pinned key, or
// says something else than what was signed. It is not acted upon.
var ErrUntrusted = errors.New("not signed by a trusted key")

// A signature is the last member of a document, `,"sig":"<key>.<signature>"}`, and
// of fixed length: it covers the very bytes before it, with a brace in its
// place, so that nothing has to be encoded again in the same way.
const (
	sigOpen   = `,"sig":"`
	sigClose  = `"}`
	keyLen    = 56 // a public nkey
	sigLen    = 86 // 64 bytes in base64url without padding
	sigMember = len(sigOpen) + keyLen + 1 + sigLen + len(sigClose)
)

// Signer signs documents.
type Signer struct {
	// Key is the public key, an nkey of a user ("U…").
	Key string
	// Sign makes an ed25519 signature.
	Sign func(input []byte) ([]byte, error)
}

// Seal signs doc, a JSON object with at least one member, for subject: the name
// under which it will be found. A nil Signer returns doc as it is.
func (s *Signer) Seal(subject string, doc []byte) ([]byte, error) {
	if s == nil {
		return doc, nil
	}
	if len(doc) < len(`{"v":1}`) || doc[0] != '{' || doc[len(doc)-1] != '}' {
		return nil, fmt.Errorf("sign the document for %s: %w: it is no JSON object with members", subject, ErrBadDocument)
	}
	sig, err := s.Sign(signedInput(subject, doc))
	if err != nil {
		return nil, fmt.Errorf("sign the document for %s: %w", subject, err)
	}
	out := append(slices.Clone(doc[:len(doc)-1]), sigOpen...)
	out = append(append(out, s.Key...), '.')
	out = base64.RawURLEncoding.AppendEncode(out, sig)
	return append(out, sigClose...), nil
}

// signedInput binds a document to its subject, hence to cluster, kind, node and
// stream; neither contains a line feed that is not JSON's.
func signedInput(subject string, doc []byte) []byte {
	return append([]byte("pgresync-v1\n"+subject+"\n"), doc...)
}

// split takes the signature off a document; key is "" when there is none.
func split(b []byte) (doc []byte, key string, sig []byte) {
	if len(b) <= sigMember || !bytes.HasSuffix(b, []byte(sigClose)) {
		return b, "", nil
	}
	at := len(b) - sigMember
	tail := b[at:]
	if !bytes.HasPrefix(tail, []byte(sigOpen)) || tail[len(sigOpen)+keyLen] != '.' {
		return b, "", nil
	}
	text := tail[len(sigOpen) : len(tail)-len(sigClose)]
	sig, err := base64.RawURLEncoding.Strict().DecodeString(string(text[keyLen+1:]))
	if err != nil {
		return b, "", nil
	}
	return append(slices.Clone(b[:at]), '}'), string(text[:keyLen]), sig
}

// Keys are pinned public keys, by their nkeys. Without any, nothing is verified.
type Keys map[string]ed25519.PublicKey

// ParseKeys reads public nkeys of users.
func ParseKeys(texts []string) (Keys, error) {
	keys := Keys{}
	for _, text := range texts {
		key, err := parseKey(text)
		if err != nil {
			return nil, err
		}
		keys[text] = key
	}
	return keys, nil
}

// Open verifies that b was signed for subject by one of the keys, and returns the
// document without its signature, and the signature as text. With no keys pinned
// it verifies nothing.
func (k Keys) Open(subject string, b []byte) (doc []byte, signature string, err error) {
	doc, key, sig := split(b)
	switch {
	case len(k) == 0:
		return doc, "", nil
	case key == "":
		return nil, "", fmt.Errorf("%s: %w: it has no signature, and keys are pinned (have its sender sign, PGRESYNC_SIGNING_SEED_FILE)", clip(subject), ErrUntrusted)
	case k[key] == nil:
		return nil, "", fmt.Errorf("%s: %w: key %s is not pinned", clip(subject), ErrUntrusted, clip(key))
	case !ed25519.Verify(k[key], signedInput(subject, doc), sig):
		return nil, "", fmt.Errorf("%s: %w: the signature by key %s is for another text or another subject", clip(subject), ErrUntrusted, key)
	}
	return doc, key + "." + string(sig), nil
}

// userPrefix is the first byte of a user's public nkey, 'U' in base 32.
const userPrefix = 20 << 3

func parseKey(text string) (ed25519.PublicKey, error) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(text) != keyLen || len(raw) != 1+ed25519.PublicKeySize+2 {
		return nil, fmt.Errorf("public key %q: want the %d characters of an nkey, U…", clip(text), keyLen)
	}
	body, sum := raw[:len(raw)-2], binary.LittleEndian.Uint16(raw[len(raw)-2:])
	if body[0] != userPrefix {
		return nil, fmt.Errorf("public key %q: want that of a user, which begins with U", clip(text))
	}
	if crc16(body) != sum {
		return nil, fmt.Errorf("public key %q: its checksum is wrong: it was mistyped", clip(text))
	}
	return ed25519.PublicKey(body[1:]), nil
}

// crc16 is CRC-16/XMODEM, which ends an nkey.
func crc16(b []byte) (crc uint16) {
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
