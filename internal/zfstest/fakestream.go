package zfstest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

// A fake stream is a genuine BEGIN record whose payload is streamHead as JSON,
// then filler whose bytes depend on their place, then a SHA-256 of it all: cuts,
// splices and flipped bits do not go unnoticed.

// streamHead says what the stream will make of the receiving dataset.
type streamHead struct {
	Data content
	// Size is the length of the filler of the whole stream; Offset is where this
	// one begins, when it is a resumed one.
	Size, Offset uint64
}

// filler is one byte of the stream to guid at position i.
func filler(guid, i uint64) byte { return byte((guid ^ i*0x9e3779b97f4a7c15) >> 29) }

// sending is a validated send.
type sending struct {
	target *version
	name   string
	base   *version
	begin  zfsops.Begin
	head   streamHead
}

func (f *fake) send(args []string) error {
	opts, rest, err := flags(args, "LcewnPi:t:")
	if err != nil {
		return err
	}
	var s *sending
	switch {
	case has(opts, 't') && len(rest) == 0:
		s, err = f.resume(messages.ResumeToken(opts['t'][0]))
	case len(rest) == 1:
		s, err = f.begin(opts, rest[0])
	default:
		return errUsage
	}
	if err != nil {
		return err
	}
	if has(opts, 'n') {
		fmt.Fprintf(f.out, "full\t%s\t%d\nsize\t%d\n", s.name, s.head.Size-s.head.Offset, s.head.Size-s.head.Offset)
		return nil
	}
	f.unlocked = func() error { return s.write(f.out) }
	return nil
}

func (f *fake) begin(opts map[byte][]string, target string) (*sending, error) {
	_, v, err := f.open(target)
	if err != nil {
		return nil, err
	}
	s := &sending{target: v, name: target}
	s.begin = zfsops.Begin{ToGUID: messages.GUID(v.GUID), ToName: target, FileSystem: true}
	if has(opts, 'c') || has(opts, 'w') {
		s.begin.Features |= zfsops.FeatureCompressed
	}
	d, _, _ := f.find(strings.Split(target, "@")[0])
	if has(opts, 'w') && d.Props["encryption"].Value != "" {
		s.begin.Features |= zfsops.FeatureRaw
	}
	if has(opts, 'i') {
		_, base, ok := f.find(opts['i'][0])
		if !ok {
			return nil, refuse("cannot send '%s': incremental source (%s) does not exist", target, opts['i'][0])
		}
		if base.TXG >= v.TXG {
			return nil, refuse("warning: cannot send '%s': not an earlier snapshot from the same fs", target)
		}
		s.base = base
		s.begin.FromGUID = messages.GUID(base.GUID)
		s.begin.Clone = strings.SplitN(opts['i'][0], "@", 2)[0] != strings.Split(target, "@")[0] && strings.Contains(opts['i'][0], "@")
	}
	s.fill()
	return s, nil
}

func (f *fake) resume(t messages.ResumeToken) (*sending, error) {
	tok, err := zfsops.ParseToken(t)
	if err != nil {
		return nil, refuse("cannot resume send: resume token is corrupt")
	}
	target := f.byGUID(uint64(tok.ToGUID), false)
	if target == "" {
		return nil, refuse("cannot resume send: '%s' used in the initial send no longer exists", tok.ToName)
	}
	_, v, _ := f.find(target)
	s := &sending{target: v, name: target}
	s.begin = zfsops.Begin{ToGUID: tok.ToGUID, FromGUID: tok.FromGUID, ToName: target, FileSystem: true, Features: zfsops.FeatureResuming}
	if tok.Raw {
		s.begin.Features |= zfsops.FeatureRaw
	}
	if tok.FromGUID != 0 {
		from := f.byGUID(uint64(tok.FromGUID), true)
		if from == "" {
			return nil, refuse("cannot resume send: incremental source %#x no longer exists", uint64(tok.FromGUID))
		}
		_, s.base, _ = f.find(from)
		s.begin.Clone = strings.Contains(from, "@") && strings.Split(from, "@")[0] != strings.Split(target, "@")[0]
	}
	s.fill()
	s.head.Offset = tok.Offset
	return s, nil
}

func (f *fake) byGUID(guid uint64, bookmarks bool) string {
	for _, n := range slices.Sorted(maps.Keys(f.Datasets)) {
		for _, v := range f.Datasets[n].Snapshots {
			if v.GUID == guid {
				return n + "@" + v.Short
			}
		}
		for _, v := range f.Datasets[n].Bookmarks {
			if bookmarks && v.GUID == guid {
				return n + "#" + v.Short
			}
		}
	}
	return ""
}

// fill computes the stream's size: what was written after the base.
func (s *sending) fill() {
	s.head = streamHead{Data: s.target.Data, Size: 64 + s.target.Data.size()}
	if s.base != nil {
		s.head.Size -= min(s.target.Data.size(), s.base.Data.size())
	}
}

func (s *sending) write(out io.Writer) error {
	meta, err := json.Marshal(s.head)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 64<<10)
	sum := sha256.New()
	all := io.MultiWriter(w, sum)
	record := s.begin.Append(nil)
	binary.LittleEndian.PutUint32(record[4:], uint32(len(meta)))
	if _, err := all.Write(append(record, meta...)); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for at := s.head.Offset; at < s.head.Size; {
		n := min(uint64(len(buf)), s.head.Size-at)
		for i := range buf[:n] {
			buf[i] = filler(uint64(s.begin.ToGUID), at+uint64(i))
		}
		if _, err := all.Write(buf[:n]); err != nil {
			return err
		}
		at += n
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return w.Flush()
}

// received is what could be read of a stream.
type received struct {
	begin zfsops.Begin
	head  streamHead
	// at is how far the filler was good; complete is true at a verified end.
	at       uint64
	complete bool
}

var errBadStream = errors.New("bad stream")

func readStream(in io.Reader) (*received, error) {
	sum := sha256.New()
	raw := bufio.NewReaderSize(in, 64<<10)
	r := io.TeeReader(raw, sum)
	record := make([]byte, zfsops.BeginSize)
	if _, err := io.ReadFull(r, record); err != nil {
		return nil, err
	}
	begin, err := zfsops.ParseBegin(record)
	if err != nil {
		return nil, err
	}
	meta := make([]byte, binary.LittleEndian.Uint32(record[4:])&0xfffff)
	if _, err := io.ReadFull(r, meta); err != nil {
		return nil, err
	}
	got := &received{begin: begin}
	if err := json.Unmarshal(meta, &got.head); err != nil {
		return nil, errors.Join(errBadStream, err)
	}
	got.at = got.head.Offset
	if !got.readFiller(r) {
		return got, nil
	}
	want := sum.Sum(nil)
	end := make([]byte, len(want))
	if _, err := io.ReadFull(raw, end); err == nil && bytes.Equal(end, want) {
		got.complete = true
	}
	return got, nil
}

func (r *received) readFiller(in io.Reader) bool {
	buf := make([]byte, 32<<10)
	for r.at < r.head.Size {
		n, err := in.Read(buf[:min(uint64(len(buf)), r.head.Size-r.at)])
		for _, b := range buf[:n] {
			if b != filler(uint64(r.begin.ToGUID), r.at) {
				return false
			}
			r.at++
		}
		if err != nil {
			return r.at == r.head.Size
		}
	}
	return true
}
