package pgops

import (
	"bytes"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

var testShape = walShape{block: 8192, segment: 1 << 20}

// record makes a record with its checksum.
func record(prev messages.LSN, manager, info byte, data []byte) []byte {
	r := make([]byte, recordHead, recordHead+len(data))
	r = append(r, data...)
	walOrder.PutUint32(r, uint32(len(r)))
	walOrder.PutUint64(r[8:], uint64(prev))
	r[16], r[17] = info, manager
	walOrder.PutUint32(r[20:], crc32.Update(crc32.Checksum(r[recordHead:], castagnoli), castagnoli, r[:20]))
	return r
}

// paged lays body out as the log from at on; a page that goes on with it says so
// unless torn.
func paged(body []byte, at messages.LSN, torn bool) []byte {
	var raw []byte
	for pos := uint64(at); len(body) > 0; {
		if pos%testShape.block == 0 {
			head := make([]byte, pageHead(pos, testShape))
			if len(raw) > 0 && !torn {
				head[2] = firstContinues
			}
			raw, pos = append(raw, head...), pos+uint64(len(head))
		}
		n := min(testShape.block-pos%testShape.block, uint64(len(body)))
		raw, body, pos = append(raw, body[:n]...), body[n:], pos+n
	}
	return raw
}

func TestParseRecord(t *testing.T) {
	const at = messages.LSN(0x500100)
	data := bytes.Repeat([]byte("data"), 5000)
	good := record(at-80, 10, 0, data)
	for _, tt := range []struct {
		name string
		at   messages.LSN
		raw  []byte
		want error
	}{
		{"within a page", at, paged(record(at-80, 10, 0, data[:100]), at, false), nil},
		{"over several pages", at, paged(good, at, false), nil},
		{"at the start of a page", 0x502000, paged(good, 0x502000, false), nil},
		{"at the start of a segment", 0x500000, paged(record(0x4FFF00, 10, 0, data), 0x500000, false), nil},
		{"what follows does not matter", at, append(paged(record(at-80, 10, 0, nil), at, false), "anything at all"...), nil},
		{"torn by a crash of the primary, which went on behind it", at, paged(good, at, true), errPartRecord},
		{"more than we have", at, paged(good, at, false)[:9000], errPartRecord},
		{"less than a header", at, good[:20], errPartRecord},
		{"nothing at all", at, nil, errPartRecord},
		{"zeros", at, make([]byte, 100), errNoRecord},
		{"a predecessor that comes later", at, record(at+8, 10, 0, data[:8]), errNoRecord},
		{"a predecessor out of reach", 5<<30 + 0x100, record(100, 10, 0, data[:8]), errNoRecord},
		{"a wrong checksum", at, bytes.Replace(paged(good, at, false), []byte("data"), []byte("dada"), 1), errNoRecord},
		{"the middle of a record", 0x502000, append([]byte{0x10, 0xD1, firstContinues, 0}, make([]byte, 200)...), errNoRecord},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parseRecord(tt.raw, tt.at, testShape)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %+v, %v, want %v", r.prev, err, tt.want)
			}
		})
	}
}

func TestJudgeKnowsACheckpoint(t *testing.T) {
	const at, redo, when = messages.LSN(0x500100), messages.LSN(0x4F0028), int64(1795342272)
	content := []byte{255, 88}
	content = walOrder.AppendUint64(content, uint64(redo))
	content = append(content, make([]byte, 56)...)
	content = walOrder.AppendUint64(content, uint64(when))
	content = append(content, make([]byte, 16)...)
	claim := messages.WALClaim{Kind: messages.WALCheckpoint, Timeline: 1, At: at, Redo: redo, Time: when}
	for _, tt := range []struct {
		name    string
		manager byte
		info    byte
		change  func(*messages.WALClaim)
		want    messages.WALVerdict
	}{
		{"an online checkpoint", 0, 0x10, func(*messages.WALClaim) {}, messages.WALAgrees},
		{"a shutdown checkpoint", 0, 0x00, func(*messages.WALClaim) {}, messages.WALAgrees},
		{"one with another redo position", 0, 0x10, func(c *messages.WALClaim) { c.Redo++ }, messages.WALDiffers},
		{"one of another time", 0, 0x10, func(c *messages.WALClaim) { c.Time++ }, messages.WALDiffers},
		{"another record of the log itself", 0, 0x40, func(*messages.WALClaim) {}, messages.WALDiffers},
		{"a record of a table", 10, 0x10, func(*messages.WALClaim) {}, messages.WALDiffers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := claim
			tt.change(&c)
			if got := judge(c, record(at-80, tt.manager, tt.info, content), testShape); got.Verdict != tt.want {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
		})
	}
}

// Whatever the log holds, it is judged and not stumbled over.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte{}, uint64(0x500100))
	f.Add(record(0x500000, 0, 0x10, []byte{255, 8, 1, 2, 3, 4, 5, 6, 7, 8}), uint64(0x500100))
	f.Add(paged(record(0x500000, 0, 0x10, make([]byte, 9000)), 0x502000, false), uint64(0x502000))
	f.Fuzz(func(t *testing.T, raw []byte, at uint64) {
		r, err := parseRecord(raw, messages.LSN(at), testShape)
		if err == nil && len(r.data) > len(raw) {
			t.Errorf("%d bytes of record out of %d", len(r.data), len(raw))
		}
		for _, kind := range []messages.WALClaimKind{messages.WALCheckpoint, messages.WALBoundary} {
			if a := judge(messages.WALClaim{Kind: kind, At: messages.LSN(at)}, raw, testShape); a.Verdict == "" {
				t.Error("no verdict")
			}
		}
	})
}

func TestSpansBeforeAPosition(t *testing.T) {
	const seg, k64 = 16 << 20, 64 << 10
	shape := walShape{block: 8192, segment: seg}
	for name, tt := range map[string]struct {
		at, begin messages.LSN
		want      []messages.LSN // from, to, from, to
	}{
		"inside a segment":              {9*seg + 1<<20, 0, []messages.LSN{9*seg + 1<<20 - k64, 9*seg + 1<<20, 9*seg - k64, 9 * seg}},
		"behind a switch":               {9 * seg, 0, []messages.LSN{8*seg - k64, 8 * seg}},
		"behind the first switch":       {2 * seg, 0, nil},
		"behind a switch, after a fork": {9 * seg, 8*seg + 100, nil},
		"soon after a fork":             {9*seg + 500, 9*seg + 100, []messages.LSN{9*seg + 100, 9*seg + 500}},
	} {
		t.Run(name, func(t *testing.T) {
			id := messages.Identity{LSN: tt.at, Timeline: messages.TimelineHistory{Current: 1}}
			if tt.begin > 0 {
				id.Timeline = messages.TimelineHistory{Current: 2, Ancestors: []messages.TimelineSwitch{{Timeline: 1, EndLSN: tt.begin}}}
			}
			var got []messages.LSN
			for _, s := range spansBefore(id, shape) {
				got = append(got, s.At, s.To)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
