package messages

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version is the newest version of the wire documents that this build speaks.
const Version = 1

// MaxDocument is the greatest size of a document in bytes; what is larger is
// refused before it is parsed.
const MaxDocument = 512 << 10

// ErrBadDocument is wrapped by every error of Decode and Encode.
var ErrBadDocument = errors.New("bad document")

// Document is a wire document.
type Document interface{ Validate() error }

// Encode validates and marshals d.
func Encode(d Document) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("encode %T: %w: %w", d, ErrBadDocument, err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w: %w", d, ErrBadDocument, err)
	}
	if len(b) > MaxDocument {
		return nil, fmt.Errorf("encode %T: %w: %d bytes are more than the %d allowed", d, ErrBadDocument, len(b), MaxDocument)
	}
	return b, nil
}

// Decode reads exactly one document into d and validates it. Unknown fields,
// trailing data, a newer version and an oversized body are errors. A signature is
// not looked at: who pins keys opens the document first (Keys.Open).
func Decode(b []byte, d Document) error { return decode(b, MaxDocument, d) }

func decode(b []byte, limit int, d Document) error {
	if len(b) <= limit+sigMember {
		b, _, _ = split(b)
	}
	if len(b) > limit {
		return fmt.Errorf("decode %T: %w: %d bytes are more than the %d allowed", d, ErrBadDocument, len(b), limit)
	}
	// The version is looked at first: a newer document may well have unknown fields,
	// and "upgrade" is the better complaint.
	var probe struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &probe); err == nil && probe.V > Version {
		return fmt.Errorf("decode %T: %w: %w", d, ErrBadDocument, version(probe.V))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(d); err != nil {
		return fmt.Errorf("decode %T: %w: %w", d, ErrBadDocument, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("decode %T: %w: more than one JSON value", d, ErrBadDocument)
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("decode %T: %w: %w", d, ErrBadDocument, err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func version(v int) error {
	switch {
	case v > Version:
		return fmt.Errorf("version %d is newer than the %d this build speaks: upgrade this sidecar", v, Version)
	case v < 1:
		return errors.New(`v: missing (want "v":1)`)
	}
	return nil
}

func required(field, value string) error {
	if value == "" {
		return fmt.Errorf("%s: missing", field)
	}
	return nil
}

func nonZero(field string, value uint64) error {
	if value == 0 {
		return fmt.Errorf("%s: missing or zero", field)
	}
	return nil
}

func nonNegative(field string, value int64) error {
	if value < 0 {
		return fmt.Errorf("%s: negative", field)
	}
	return nil
}

func checkHex(field, value string) error {
	if b, err := hex.DecodeString(value); err != nil || len(b) != 32 {
		return fmt.Errorf("%s: want 64 hexadecimal digits", field)
	}
	return nil
}

// token refuses what would not be one token of a NATS subject.
func token(field, value string) error {
	if value == "" || len(value) > 64 {
		return fmt.Errorf("%s: want 1 to 64 characters", field)
	}
	for i := range len(value) {
		if c := value[i]; !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return fmt.Errorf("%s: character %q is not allowed", field, c)
		}
	}
	return nil
}

// optionalName refuses what could not be the name of a consumer or stream.
func optionalName(field, value string) error {
	if len(value) > 128 || strings.ContainsFunc(value, func(r rune) bool { return r != '_' && r != '-' && !isAlnum(r) }) {
		return fmt.Errorf("%s: want at most 128 letters, digits, '-' and '_'", field)
	}
	return nil
}

func isAlnum(r rune) bool { return r < 0x80 && (isLowerAlnum(byte(r)) || r >= 'A' && r <= 'Z') }

// hostname refuses what could smuggle a second parameter into a connection
// string: the lease is read from the network and ends up in primary_conninfo.
func hostname(field, value string) error {
	if value == "" || len(value) > 253 {
		return fmt.Errorf("%s: want 1 to 253 characters", field)
	}
	for i := range len(value) {
		if c := value[i]; !isLowerAlnum(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("-_.:/%", rune(c)) {
			return fmt.Errorf("%s: character %q is not allowed in a host name or address", field, c)
		}
	}
	return nil
}

func portNumber(field string, value int) error {
	if value < 1 || value > 65535 {
		return fmt.Errorf("%s: %d is not a TCP port", field, value)
	}
	return nil
}
