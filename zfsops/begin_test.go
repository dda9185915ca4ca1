package zfsops

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

// lines of a file in testdata, without comments.
func lines(tb testing.TB, name string) []string {
	tb.Helper()
	var all []string
	for line := range strings.Lines(string(read(tb, name))) {
		if !strings.HasPrefix(line, "#") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func records(tb testing.TB) [][]byte {
	tb.Helper()
	var all [][]byte
	for _, line := range lines(tb, "begin-2.3.9.txt") {
		b, err := hex.DecodeString(line)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, append(b, make([]byte, BeginSize-len(b))...))
	}
	return all
}

func TestParseBeginOfRealStreams(t *testing.T) {
	want := []Begin{
		{ByteOrder: binary.LittleEndian, ToGUID: 17612021390246100701, ToName: "my pool/src@1", FileSystem: true},
		{ByteOrder: binary.LittleEndian, ToGUID: 0xaf5ff5c94b3bd344, ToName: "my pool/src@1", FileSystem: true},
		{ByteOrder: binary.LittleEndian, ToGUID: 0x72a78c3d74071373, ToName: "my pool/enc@2", FileSystem: true},
	}
	features := []Features{
		FeatureLargeBlocks | FeatureCompressed | FeatureEmbedded,
		FeatureLargeBlocks | FeatureCompressed | FeatureEmbedded | FeatureResuming,
		FeatureRaw | FeatureCompressed,
	}
	const known = FeatureLargeBlocks | FeatureCompressed | FeatureEmbedded | FeatureResuming | FeatureRaw | FeatureRedacted
	for i, b := range records(t) {
		got, err := ParseBegin(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Features&known != features[i] {
			t.Errorf("%d: got features %b, want %b", i, got.Features, features[i])
		}
		got.Features = 0
		if d := cmp.Diff(want[i], got); d != "" {
			t.Error(d)
		}
	}
}

func TestABeginOfTheOtherByteOrderIsTheSame(t *testing.T) {
	want := Begin{
		ByteOrder: binary.BigEndian, ToGUID: 1 << 60, FromGUID: 7, ToName: "tank/a b@x",
		Features: FeatureRaw, FileSystem: true, Clone: true,
	}
	got, err := ParseBegin(want.Append(nil))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatal(d, err)
	}
}

func TestWhatIsNotABeginIsAMismatch(t *testing.T) {
	good := (&Begin{ToGUID: 1, ToName: "a@b", FileSystem: true}).Append(nil)
	for what, edit := range map[string]func([]byte) []byte{
		"short":            func(b []byte) []byte { return b[:BeginSize-1] },
		"empty":            func([]byte) []byte { return nil },
		"wrong magic":      func(b []byte) []byte { b[8]++; return b },
		"another record":   func(b []byte) []byte { b[0]++; return b },
		"an endless name":  func(b []byte) []byte { copy(b[toNameOffset:], bytes.Repeat([]byte("x"), 256)); return b },
		"compressed again": func(b []byte) []byte { return append([]byte("\x28\xb5\x2f\xfd"), b[4:]...) },
	} {
		if _, err := ParseBegin(edit(bytes.Clone(good))); !errors.Is(err, messages.ErrStreamMismatch) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestOnlyTheAnnouncedStreamPasses(t *testing.T) {
	good := Begin{ToGUID: 5, FromGUID: 3, FileSystem: true}
	if err := good.check(5, 3); err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string]func(*Begin){
		"another target":   func(b *Begin) { b.ToGUID++ },
		"another base":     func(b *Begin) { b.FromGUID++ },
		"full":             func(b *Begin) { b.FromGUID = 0 },
		"a package":        func(b *Begin) { b.Package = true },
		"a volume":         func(b *Begin) { b.FileSystem = false },
		"a redacted one":   func(b *Begin) { b.Features = FeatureRedacted },
		"nothing at all":   func(b *Begin) { *b = Begin{} },
		"a zero GUID pair": func(b *Begin) { b.ToGUID, b.FromGUID = 0, 0 },
	} {
		b := good
		edit(&b)
		if err := b.check(5, 3); !errors.Is(err, messages.ErrStreamMismatch) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	raw := Begin{Features: FeatureRaw}
	if err := raw.checkFlags(messages.FlagsPlain); !errors.Is(err, messages.ErrStreamMismatch) {
		t.Errorf("a raw stream in a plain chain: got %v", err)
	}
	if err := errors.Join(raw.checkFlags(messages.FlagsRaw), raw.checkFlags(""), good.checkFlags(messages.FlagsRaw)); err != nil {
		t.Errorf("flags that fit: got %v", err)
	}
	zero := Begin{FileSystem: true}
	if err := zero.check(0, 0); !errors.Is(err, messages.ErrStreamMismatch) {
		t.Errorf("an announcement without a GUID: got %v", err)
	}
}

func FuzzParseBegin(f *testing.F) {
	for _, b := range records(f) {
		f.Add(b)
	}
	f.Add((&Begin{ByteOrder: binary.BigEndian, ToGUID: 1, Package: true}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseBegin(b)
		if err != nil {
			return
		}
		again, err := ParseBegin(got.Append(nil))
		// The encoder knows two header types and two objset types only.
		again.Features, got.Features = again.Features&(1<<56-1), got.Features&(1<<56-1)
		if d := cmp.Diff(got, again); d != "" || err != nil {
			t.Fatal(d, err)
		}
	})
}
