package messages_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

func TestPropertiesRoundTrip(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			packed, err := messages.PackProperty(s.doc)
			if err != nil {
				t.Fatal(err)
			}
			if len(packed) > messages.MaxProperty || strings.Trim(packed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				t.Errorf("packed into %d bytes: %q", len(packed), packed)
			}
			back := s.zero()
			if err := messages.UnpackProperty(packed, back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.doc, back); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A manifest of a cluster with many tablespaces must fit its snapshot's property.
func TestALargeManifestFitsAProperty(t *testing.T) {
	m := sampleManifest()
	for i := range 40 {
		d := m.Datasets[1]
		d.Name, d.GUID = messages.RelName("ts"+strings.Repeat("x", i%5)+string(rune('a'+i%26))+string(rune('a'+i/26))), messages.GUID(rand.Uint64()|1)
		d.Mountpoint = "/srv/" + string(d.Name)
		m.Datasets = append(m.Datasets, d)
	}
	if _, err := messages.PackProperty(m); err != nil {
		t.Error(err)
	}
}

func TestPackPropertyRefusesWhatDoesNotFit(t *testing.T) {
	noise := make([]byte, 8000) // hardly compresses
	for i := range noise {
		noise[i] = byte(' ' + rand.IntN(90))
	}
	_, err := messages.PackProperty(&messages.ErrorReply{V: 1, Code: "c", Error: string(noise)})
	if err == nil || !strings.Contains(err.Error(), "8191") {
		t.Errorf("PackProperty = %v, want an error with the limit", err)
	}
}

func pack(tb testing.TB, b []byte) string {
	tb.Helper()
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestSpeed)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(buf.Bytes())
}

func TestUnpackPropertyRefuses(t *testing.T) {
	good := pack(t, []byte(`{"v":1,"slot":{"name":"s","restart_lsn":"0/0","active":false}}`))
	if err := messages.UnpackProperty(good, &messages.SlotReply{}); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for _, tt := range []struct{ name, value, want string }{
		{"nothing", "", "EOF"},
		{"ZFS's sign for no value", "-", "base64"},
		{"another alphabet", good + "+/", "base64"},
		{"cut short", good[:len(good)-8], "EOF"},
		{"what is not compressed", base64.RawURLEncoding.EncodeToString([]byte("{}{}{}")), ""},
		{"an empty document", pack(t, nil), "EOF"},
		{"a document with an unknown field", pack(t, []byte(`{"v":1,"x":1}`)), "unknown"},
		{"two documents", pack(t, []byte(`{"v":1}{"v":1}`)), "more than one"},
		// Blanks pack into a thousandth of their size; no more than the limit is unpacked.
		{"a bomb", pack(t, bytes.Repeat([]byte(" "), 1<<20)), "more than the"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := messages.UnpackProperty(tt.value, &messages.SlotReply{})
			if !errors.Is(err, messages.ErrBadDocument) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("UnpackProperty = %v, want ErrBadDocument about %q", err, tt.want)
			}
		})
	}
}

// A value that unpacks to many times its size is given up at the limit, not read
// to its end.
func TestABombCostsLittleMemory(t *testing.T) {
	bomb := pack(t, bytes.Repeat([]byte(" "), 24<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := messages.UnpackProperty(bomb, &messages.SlotReply{})
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 8<<20 {
		t.Errorf("UnpackProperty = %v, after allocating %d bytes", err, got)
	}
}

func TestBlobIsACopy(t *testing.T) {
	data := []byte("label")
	b := messages.NewBlob(data)
	data[0] = 'X'
	if string(b.Data) != "label" {
		t.Errorf("the blob changed with its source: %q", b.Data)
	}
}

func TestManifestLookups(t *testing.T) {
	m := sampleManifest()
	if d, ok := m.Dataset("wal"); !ok || d.Kind != messages.KindWAL {
		t.Errorf("Dataset(wal) = %+v, %v", d, ok)
	}
	if _, ok := m.Dataset("nothing"); ok {
		t.Error("Dataset(nothing) finds something")
	}
	m.Datasets[0], m.Datasets[1] = m.Datasets[1], m.Datasets[0]
	var names []string
	for _, d := range m.Travelling() {
		names = append(names, string(d.Name))
	}
	if diff := cmp.Diff([]string{"", "ts fast"}, names); diff != "" {
		t.Errorf("travelling, parents first:\n%s", diff)
	}
	for _, s := range samples() {
		if f, ok := s.doc.(*messages.PrimaryFacts); ok {
			if len(f.History("ts fast")) != 2 || f.History("wal") != nil {
				t.Errorf("histories %v, %v", f.History("ts fast"), f.History("wal"))
			}
		}
	}
}

// A mark that List does not ask for would never be seen.
func TestDatasetMarksAreAllThatThereAre(t *testing.T) {
	source, err := os.ReadFile("mark.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile(`= "(pgresync:[a-z]+)"`).FindAllStringSubmatch(string(source), -1) {
		if m[1] != messages.PropState { // of snapshots alone
			want = append(want, m[1])
		}
	}
	if got := messages.DatasetMarks(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
