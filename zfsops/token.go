package zfsops

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Token is the content of a resume token: where the partial receive stands, and
// of which stream (get_receive_resume_token_impl, OpenZFS 2.1 to 2.4,
// module/zfs/dsl_dataset.c). Redacted sends, which have fields of their own, are
// not made by pgresync and are refused.
type Token struct {
	ToGUID messages.GUID
	// FromGUID is 0 for a full stream.
	FromGUID messages.GUID
	// ToName is the snapshot's full name where it was sent from.
	ToName messages.SnapshotName
	// Object and Offset are where to go on; Bytes is what has arrived.
	Object, Offset, Bytes                         uint64
	LargeBlocks, Embedded, Compressed, Raw, Saved bool
}

// maxPacked bounds what a token may unpack to, in bytes; real ones have about
// 400.
const maxPacked = 16 << 10

// ParseToken decodes "1-<fletcher4>-<length>-<zlib of a packed nvlist>". It is
// strict: a field that is unknown, of another type or there twice is an error,
// because zfs send might read it in another way than we do. The error wraps
// messages.ErrTokenInvalid.
func ParseToken(t messages.ResumeToken) (Token, error) {
	packed, err := unpackToken(string(t))
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", messages.ErrTokenInvalid, err)
	}
	pairs, err := parseNVList(packed)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", messages.ErrTokenInvalid, err)
	}
	tok, err := tokenOf(pairs)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", messages.ErrTokenInvalid, err)
	}
	return tok, nil
}

func unpackToken(t string) ([]byte, error) {
	parts := strings.Split(t, "-")
	if len(parts) != 4 || parts[0] != "1" {
		return nil, errors.New("want four parts and version 1")
	}
	sum, err1 := strconv.ParseUint(parts[1], 16, 64)
	size, err2 := strconv.ParseUint(parts[2], 16, 16)
	compressed, err3 := hex.DecodeString(parts[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("not hexadecimal, or too long: %w", err)
	}
	if fletcher4(compressed) != sum {
		return nil, errors.New("wrong checksum")
	}
	rest := bytes.NewReader(compressed)
	r, err := zlib.NewReader(rest)
	if err != nil {
		return nil, fmt.Errorf("not compressed: %w", err)
	}
	packed, err := io.ReadAll(io.LimitReader(r, maxPacked))
	if err != nil {
		return nil, fmt.Errorf("not compressed: %w", err)
	}
	if uint64(len(packed)) != size || rest.Len() != 0 {
		return nil, fmt.Errorf("unpacks to %d bytes, said are %d; %d bytes are left over", len(packed), size, rest.Len())
	}
	return packed, nil
}

// fletcher4 is the first word of the checksum: the sum of the 32-bit words. Like
// fletcher_4_native_varsize it ignores what is left over at the end.
func fletcher4(b []byte) (a uint64) {
	for ; len(b) >= 4; b = b[4:] {
		a += uint64(binary.LittleEndian.Uint32(b))
	}
	return a
}

// fields gives the address of each field that a token may have, by its name.
func (t *Token) fields() (numbers map[string]*uint64, flags map[string]*bool) {
	numbers = map[string]*uint64{
		"object": &t.Object, "offset": &t.Offset, "bytes": &t.Bytes,
		"toguid": (*uint64)(&t.ToGUID), "fromguid": (*uint64)(&t.FromGUID),
	}
	flags = map[string]*bool{
		"largeblockok": &t.LargeBlocks, "embedok": &t.Embedded,
		"compressok": &t.Compressed, "rawok": &t.Raw, "savedok": &t.Saved,
	}
	return numbers, flags
}

func tokenOf(pairs []nvpair) (Token, error) {
	var t Token
	numbers, flags := t.fields()
	for _, p := range pairs {
		switch number, flag := numbers[p.name], flags[p.name]; {
		case number != nil && p.kind == nvUint64:
			*number = p.number
		case flag != nil && p.kind == nvBoolean:
			*flag = true
		case p.name == "toname" && p.kind == nvString:
			name, err := messages.ParseSnapshotName(p.text)
			if err != nil {
				return Token{}, fmt.Errorf("toname: %w", err)
			}
			t.ToName = name
		default:
			return Token{}, fmt.Errorf("field %q of type %d is not known", p.name, p.kind)
		}
	}
	if t.ToGUID == 0 || t.ToName == "" {
		return Token{}, errors.New("it does not say for which snapshot it is")
	}
	return t, nil
}

// Encode is the inverse of ParseToken. What is given to zfs send is always
// encoded here from checked fields, never what came over the network, so that no
// difference between this decoder and libzfs's can be exploited
// (openzfs#14153).
func (t *Token) Encode() messages.ResumeToken {
	var pairs []nvpair
	numbers, flags := t.fields()
	for _, name := range []string{"fromguid", "object", "offset", "bytes", "toguid"} {
		if name != "fromguid" || t.FromGUID != 0 {
			pairs = append(pairs, nvpair{name: name, kind: nvUint64, number: *numbers[name]})
		}
	}
	pairs = append(pairs, nvpair{name: "toname", kind: nvString, text: string(t.ToName)})
	for _, name := range []string{"largeblockok", "embedok", "compressok", "rawok", "savedok"} {
		if *flags[name] {
			pairs = append(pairs, nvpair{name: name, kind: nvBoolean})
		}
	}
	packed := encodeNVList(pairs)
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	_, _ = w.Write(packed) // a bytes.Buffer takes everything
	_ = w.Close()
	return messages.ResumeToken(fmt.Sprintf("1-%x-%x-%x", fletcher4(buf.Bytes()), len(packed), buf.Bytes()))
}

// check compares an untrusted token with the send that was asked for.
func (t *Token) check(spec *messages.SendSpec) error {
	complain := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", messages.ErrTokenInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case t.ToGUID != spec.To || t.FromGUID != spec.From:
		return complain("it is for GUIDs %s from %s, asked for were %s from %s", t.ToGUID, t.FromGUID, spec.To, spec.From)
	case t.ToName.IsBookmark() || t.ToName.Dataset() != spec.Target.Dataset():
		return complain("it is for %s, asked for was %s", t.ToName, spec.Target)
	case t.Raw != (spec.Flags == messages.FlagsRaw):
		return complain("raw is %t in it, the chain's flags are %q", t.Raw, spec.Flags)
	case t.Saved:
		return complain("it is of a partially received snapshot")
	}
	return nil
}
