package messages_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pgresync/pgresync/messages"
)

func FuzzParseLSN(f *testing.F) {
	for _, s := range []string{"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "1/", "-1/0", "0/1_0", "0x1/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := messages.ParseLSN(s)
		if err != nil {
			return
		}
		if back, err := messages.ParseLSN(l.String()); err != nil || back != l {
			t.Errorf("%q is %s, and that is %s, %v", s, l, back, err)
		}
		if strings.Count(s, "/") != 1 || strings.Trim(s, "0123456789abcdefABCDEF/") != "" {
			t.Errorf("%q is accepted as %s", s, l)
		}
	})
}

// safeName is what may become an argument of the zfs command.
func safeName(s string) bool {
	return !strings.HasPrefix(s, "-") && !strings.ContainsAny(s, "\x00\n\t%,=") && len(s) <= 255 && !strings.Contains("/"+s+"/", "/../")
}

func FuzzParseDataset(f *testing.F) {
	for _, s := range []string{"tank", "tank/pg data", "tank/..", "-r", "tank//x", "tank@x", "tank/%recv", "tank/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := messages.ParseDataset(s)
		if _, relErr := messages.ParseRelName(s); (relErr == nil) != (err == nil) && s != "" {
			t.Errorf("%q: dataset %v, relative name %v", s, err, relErr)
		}
		if err != nil {
			return
		}
		if string(d) != s || !safeName(s) || strings.ContainsAny(s, "@#") || d.Pool() == "" {
			t.Errorf("%q is accepted", s)
		}
		if parent := d.Parent(); parent != "" {
			rel, ok := d.Rel(parent)
			if _, err := messages.ParseDataset(string(parent)); err != nil || !ok || parent.Child(rel) != d {
				t.Errorf("%q: parent %q, rest %q: %v", d, parent, rel, err)
			}
		}
	})
}

func FuzzParseSnapshotName(f *testing.F) {
	for _, s := range []string{"tank@a", "tank/pg data#a b", "tank@a@b", "@a", "tank@", "tank@-r", "tank@pgresync-06dkx6g0g800000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := messages.ParseSnapshotName(s)
		if err != nil {
			return
		}
		sep := "@"
		if n.IsBookmark() {
			sep = "#"
		}
		if string(n.Dataset())+sep+n.Short() != s || !safeName(s) || strings.ContainsAny(n.Short(), "/@#") {
			t.Errorf("%q is accepted as %q and %q", s, n.Dataset(), n.Short())
		}
		if id, ok := messages.SnapshotIDOf(n); ok && id.ShortName() != n.Short() && (!n.IsBookmark() || !strings.HasPrefix(n.Short(), id.ShortName()+".")) {
			t.Errorf("%q has id %q", n, id)
		}
	})
}

// What Decode accepts is valid, can be encoded, and means the same afterwards.
func FuzzDecode(f *testing.F) {
	all := samples()
	for i, s := range all {
		b, err := messages.Encode(s.doc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, b)
	}
	for _, b := range []string{"", "null", "{}", `{"v":1}`, `{"v":2}`, `{"v":1}{"v":1}`, `[{"v":1}]`, `{"V":1}`} {
		f.Add(0, []byte(b))
	}
	f.Add(3, []byte(`{"v":1,"id":"x","type":"t","cluster":"main","node":"db2","at":"2026-11-22T10:00:00+01:00","text":"","resync":{"passes":[{}]},"transfer":{}}`))
	f.Add(14, []byte(`{"v":1,"cluster":"main","node":"db2","sidecar":"s","identity":{},"last":{},"kept":[]}`))
	// Where it seems to hang, it minimises: use -fuzzminimizetime 1x.
	f.Fuzz(func(t *testing.T, which int, b []byte) {
		s := all[uint(which)%uint(len(all))]
		doc := s.zero()
		if err := messages.Decode(b, doc); err != nil {
			if !errors.Is(err, messages.ErrBadDocument) {
				t.Errorf("the error is no ErrBadDocument: %v", err)
			}
			return
		}
		if err := doc.Validate(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
		out, err := messages.Encode(doc)
		if err != nil {
			t.Fatal(err)
		}
		again := s.zero()
		if err := messages.Decode(out, again); err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v\n%s", err, out)
		}
		if diff := cmp.Diff(doc, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the meaning changed:\n%s", diff)
		}
	})
}

func FuzzUnpackProperty(f *testing.F) {
	for _, s := range samples() {
		packed, err := messages.PackProperty(s.doc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Add("")
	f.Add("-")
	f.Add(pack(f, bytes.Repeat([]byte(" "), 2<<20)))
	f.Fuzz(func(t *testing.T, s string) {
		m := &messages.Manifest{}
		if err := messages.UnpackProperty(s, m); err != nil {
			if !errors.Is(err, messages.ErrBadDocument) {
				t.Errorf("the error is no ErrBadDocument: %v", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
	})
}

func FuzzParseTrigger(f *testing.F) {
	for _, s := range []string{"pgresync.main.trigger.snapshot", "pgresync.main.trigger.resync.db2", "pgresync.main.trigger.resync.all", "pgresync.main.trigger.resync.>", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		s := messages.Subjects{Cluster: "main"}
		got, err := s.ParseTrigger(subject)
		if err != nil {
			return
		}
		want := s.TriggerSnapshot()
		switch {
		case got.All:
			want = s.TriggerResync(messages.AllNodes)
		case !got.Snapshot:
			want = s.TriggerResync(string(got.Node))
		}
		if subject != want {
			t.Errorf("%q is taken for %q", subject, want)
		}
	})
}
