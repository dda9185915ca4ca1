package zfsops

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The types of name-value pairs that a resume token has (data_type_t, OpenZFS
// include/sys/nvpair.h).
const (
	nvBoolean = 1 // its being there is its value
	nvUint64  = 8
	nvString  = 9
)

// nvpair is one name with its value; kind says which of the two is set.
type nvpair struct {
	name   string
	kind   int
	number uint64
	text   string
}

const (
	nvListHeader = 12 // encoding, byte order, two reserved; version; flags
	nvPairHeader = 16 // size, name's size, reserved, elements, type
	nvUniqueName = 1  // NV_UNIQUE_NAME, the flag of every list made by fnvlist_alloc
)

var errNVList = errors.New("malformed nvlist")

func align8(n int) int { return (n + 7) &^ 7 }

// parseNVList reads a list in the native encoding of a little-endian machine
// (NV_ENCODE_NATIVE, module/nvpair/nvpair.c), which is how the kernel packs
// tokens. Only what encodeNVList writes is accepted: one spelling per list.
func parseNVList(b []byte) ([]nvpair, error) {
	if len(b) < nvListHeader+4 || b[0] != 0 || b[1] != 1 {
		return nil, fmt.Errorf("%w: not in the native encoding of this machine", errNVList)
	}
	le := binary.LittleEndian
	if le.Uint32(b[4:]) != 0 || le.Uint32(b[8:]) != nvUniqueName {
		return nil, fmt.Errorf("%w: version or flags", errNVList)
	}
	var pairs []nvpair
	seen := map[string]bool{}
	rest := b[nvListHeader:]
	for {
		if len(rest) < 4 {
			return nil, fmt.Errorf("%w: no end", errNVList)
		}
		size := int(int32(le.Uint32(rest)))
		if size == 0 {
			break
		}
		if size < nvPairHeader || size > len(rest) {
			return nil, fmt.Errorf("%w: size of a pair", errNVList)
		}
		p, err := parseNVPair(rest[:size])
		if err != nil {
			return nil, err
		}
		if seen[p.name] {
			return nil, fmt.Errorf("%w: %q is there twice", errNVList, p.name)
		}
		seen[p.name] = true
		pairs = append(pairs, p)
		rest = rest[size:]
	}
	if len(rest) != 4 {
		return nil, fmt.Errorf("%w: data behind the end", errNVList)
	}
	return pairs, nil
}

func parseNVPair(b []byte) (nvpair, error) {
	le := binary.LittleEndian
	nameSize := int(int16(le.Uint16(b[4:])))
	if nameSize < 2 || nvPairHeader+nameSize > len(b) {
		return nvpair{}, fmt.Errorf("%w: size of a name", errNVList)
	}
	name, padding, _ := bytes.Cut(b[nvPairHeader:nvPairHeader+nameSize], []byte{0})
	if len(name) != nameSize-1 || len(padding) != 0 {
		return nvpair{}, fmt.Errorf("%w: name", errNVList)
	}
	p := nvpair{name: string(name), kind: int(le.Uint32(b[12:]))}
	elements := le.Uint32(b[8:])
	value := b[min(align8(nvPairHeader+nameSize), len(b)):]
	switch {
	case p.kind == nvBoolean && elements == 0 && len(value) == 0:
	case p.kind == nvUint64 && elements == 1 && len(value) == 8:
		p.number = le.Uint64(value)
	case p.kind == nvString && elements == 1:
		text, zeros, ok := bytes.Cut(value, []byte{0})
		if !ok || len(bytes.Trim(zeros, "\x00")) != 0 || align8(len(text)+1) != len(value) {
			return nvpair{}, fmt.Errorf("%w: text of %q", errNVList, p.name)
		}
		p.text = string(text)
	default:
		return nvpair{}, fmt.Errorf("%w: %q has type %d with %d elements", errNVList, p.name, p.kind, elements)
	}
	return p, nil
}

func encodeNVList(pairs []nvpair) []byte {
	le := binary.LittleEndian
	to := []byte{0, 1, 0, 0}
	to = le.AppendUint32(to, 0)
	to = le.AppendUint32(to, nvUniqueName)
	for _, p := range pairs {
		var value []byte
		elements := uint32(1)
		switch p.kind {
		case nvBoolean:
			elements = 0
		case nvUint64:
			value = le.AppendUint64(nil, p.number)
		case nvString:
			value = append([]byte(p.text), make([]byte, align8(len(p.text)+1)-len(p.text))...)
		}
		head := nvPairHeader + len(p.name) + 1
		to = le.AppendUint32(to, uint32(align8(head)+len(value)))
		to = le.AppendUint16(to, uint16(len(p.name)+1))
		to = le.AppendUint16(to, 0)
		to = le.AppendUint32(to, elements)
		to = le.AppendUint32(to, uint32(p.kind))
		to = append(to, p.name...)
		to = append(to, make([]byte, align8(head)-head+1)...)
		to = append(to, value...)
	}
	return le.AppendUint32(to, 0)
}
