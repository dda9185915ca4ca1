package zfsops

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

func TestParseTokenOfRealReceives(t *testing.T) {
	want := []Token{
		{
			ToGUID: 0xaf5ff5c94b3bd344, ToName: "my pool/src@1", Object: 2, Offset: 0x100000, Bytes: 0x200c70,
			LargeBlocks: true, Embedded: true, Compressed: true,
		},
		{
			ToGUID: 0x72a78c3d74071373, ToName: "my pool/enc@2", Object: 2, Offset: 0x1c0000, Bytes: 0x1e2214,
			Compressed: true, Raw: true,
		},
		{FromGUID: 17612021390246100701, ToName: "my pool/src@2", LargeBlocks: true, Embedded: true, Compressed: true},
	}
	for i, line := range lines(t, "token-2.3.9.txt") {
		got, err := ParseToken(messages.ResumeToken(line))
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 { // captured without its dump
			want[i].ToGUID, want[i].Object, want[i].Offset, want[i].Bytes = got.ToGUID, got.Object, got.Offset, got.Bytes
		}
		if d := cmp.Diff(want[i], got); d != "" {
			t.Error(d)
		}
		again, err := ParseToken(got.Encode())
		if d := cmp.Diff(got, again); d != "" || err != nil {
			t.Error(d, err)
		}
	}
}

// encode makes a token of any pairs.
func encode(packed []byte) messages.ResumeToken {
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	w.Write(packed)
	w.Close()
	return messages.ResumeToken(fmt.Sprintf("1-%x-%x-%x", fletcher4(buf.Bytes()), len(packed), buf.Bytes()))
}

func TestAStrangeTokenIsRefused(t *testing.T) {
	pairs := []nvpair{
		{name: "toguid", kind: nvUint64, number: 5},
		{name: "toname", kind: nvString, text: "tank/a b@x"},
	}
	list := func(more ...nvpair) []byte { return encodeNVList(append(pairs[:2:2], more...)) }
	good := encode(list())
	if _, err := ParseToken(good); err != nil {
		t.Fatal(err)
	}
	body := good[strings.LastIndexByte(string(good), '-')+1:]
	cases := map[string]messages.ResumeToken{
		"empty":                "",
		"three parts":          "1-2-3",
		"another version":      "2" + good[1:],
		"a wrong checksum":     "1-1-88-" + body,
		"odd hexadecimal":      good + "0",
		"more behind":          good + "00",
		"cut":                  good[:len(good)-8],
		"a wrong length":       messages.ResumeToken(strings.Replace(string(good), fmt.Sprintf("-%x-", len(list())), "-1-", 1)),
		"a field twice":        encode(list(nvpair{name: "toguid", kind: nvUint64, number: 6})),
		"an unknown field":     encode(list(nvpair{name: "redact_snaps", kind: nvUint64})),
		"a field of a type":    encode(list(nvpair{name: "rawok", kind: nvUint64})),
		"a name with a line":   encode(encodeNVList([]nvpair{pairs[0], {name: "toname", kind: nvString, text: "tank/x@y\n\trawok = 1"}})),
		"no name":              encode(encodeNVList(pairs[:1])),
		"no GUID":              encode(encodeNVList(pairs[1:])),
		"data behind the end":  encode(append(list(), 0, 0, 0, 0)),
		"no end":               encode(list()[:len(list())-4]),
		"XDR":                  encode(append([]byte{1}, list()[1:]...)),
		"the other byte order": encode(append([]byte{0, 0}, list()[2:]...)),
		"a bomb":               encode(make([]byte, 1<<20)),
	}
	for what, token := range cases {
		if got, err := ParseToken(token); !errors.Is(err, messages.ErrTokenInvalid) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
}

func TestOnlyTheTokenOfTheSendPasses(t *testing.T) {
	spec := messages.SendSpec{Target: "tank/a b@x", To: 5, Base: "tank/a b#y", From: 3, Flags: messages.FlagsPlain}
	good := Token{ToGUID: 5, FromGUID: 3, ToName: "tank/a b@x", Compressed: true}
	if err := good.check(&spec); err != nil {
		t.Fatal(err)
	}
	for what, edit := range map[string]func(*Token, *messages.SendSpec){
		"another target":   func(k *Token, _ *messages.SendSpec) { k.ToGUID++ },
		"another base":     func(k *Token, _ *messages.SendSpec) { k.FromGUID++ },
		"no base":          func(k *Token, _ *messages.SendSpec) { k.FromGUID = 0 },
		"another dataset":  func(k *Token, _ *messages.SendSpec) { k.ToName = "tank/secret@x" },
		"a bookmark":       func(k *Token, _ *messages.SendSpec) { k.ToName = "tank/a b#x" },
		"raw":              func(k *Token, _ *messages.SendSpec) { k.Raw = true },
		"not raw":          func(_ *Token, s *messages.SendSpec) { s.Flags = messages.FlagsRaw },
		"a saved snapshot": func(k *Token, _ *messages.SendSpec) { k.Saved = true },
	} {
		k, s := good, spec
		edit(&k, &s)
		if err := k.check(&s); !errors.Is(err, messages.ErrTokenInvalid) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestTokensSurviveEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Token{
			ToGUID:   messages.GUID(rapid.Uint64Min(1).Draw(t, "to")),
			FromGUID: messages.GUID(rapid.Uint64().Draw(t, "from")),
			ToName:   messages.SnapshotName(rapid.StringMatching(`[a-z][a-z0-9 ]{0,40}/[a-z]{1,9}@[a-z0-9:.-]{1,20}a`).Draw(t, "name")),
			Object:   rapid.Uint64().Draw(t, "object"), Offset: rapid.Uint64().Draw(t, "offset"), Bytes: rapid.Uint64().Draw(t, "bytes"),
			LargeBlocks: rapid.Bool().Draw(t, "L"), Embedded: rapid.Bool().Draw(t, "e"),
			Compressed: rapid.Bool().Draw(t, "c"), Raw: rapid.Bool().Draw(t, "w"), Saved: rapid.Bool().Draw(t, "S"),
		}
		if _, err := messages.ParseSnapshotName(string(want.ToName)); err != nil {
			t.Skip(err)
		}
		got, err := ParseToken(want.Encode())
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Fatal(d, err)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	for _, line := range lines(f, "token-2.3.9.txt") {
		f.Add(line)
	}
	f.Add("1-2-3-4")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseToken(messages.ResumeToken(s))
		if err != nil {
			return
		}
		again, err := ParseToken(got.Encode())
		if d := cmp.Diff(got, again); d != "" || err != nil {
			t.Fatal(d, err)
		}
	})
}

// FuzzParseNVList goes where checksum and compression keep FuzzParseToken out.
func FuzzParseNVList(f *testing.F) {
	for _, line := range lines(f, "token-2.3.9.txt") {
		packed, err := unpackToken(line)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := parseNVList(b)
		if err != nil {
			return
		}
		again, err := parseNVList(encodeNVList(pairs))
		if d := cmp.Diff(pairs, again, cmp.AllowUnexported(nvpair{})); d != "" || err != nil {
			t.Fatal(d, err)
		}
	})
}
