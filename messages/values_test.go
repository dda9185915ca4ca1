package messages_test

import (
	"encoding"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

func TestParseLSN(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want messages.LSN
		ok   bool
	}{
		{"0/0", 0, true},
		{"16/B374D848", 0x16_B374D848, true},
		{"16/b374d848", 0x16_B374D848, true},
		{"FFFFFFFF/FFFFFFFF", math.MaxUint64, true},
		{"00000001/00000002", 0x1_00000002, true},
		{"", 0, false},
		{"/", 0, false},
		{"1/", 0, false},
		{"/1", 0, false},
		{"1", 0, false},
		{"1/2/3", 0, false},
		{"100000000/0", 0, false},
		{"0/100000000", 0, false},
		{"-1/0", 0, false},
		{"0/+1", 0, false},
		{"0/1_0", 0, false},
		{"0x1/0", 0, false},
		{"G/0", 0, false},
		{" 0/0", 0, false},
		{"0/0 ", 0, false},
		{strings.Repeat("1", 1000) + "/0", 0, false},
	} {
		got, err := messages.ParseLSN(tt.in)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("ParseLSN(%q) = %v, %v, want %v, %v", tt.in, got, err, tt.want, tt.ok)
		}
		if err != nil && len(err.Error()) > 250 {
			t.Errorf("the error repeats all of a long input: %d bytes", len(err.Error()))
		}
	}
}

func TestLSNArithmetic(t *testing.T) {
	const seg = 16 << 20
	if got := messages.LSN(10).Sub(4); got != 6 {
		t.Errorf("10 - 4 = %d", got)
	}
	if got := messages.LSN(4).Sub(10); got != 0 {
		t.Errorf("4 - 10 = %d, want 0", got)
	}
	for _, tt := range []struct {
		lsn, want messages.LSN
		size      uint64
	}{
		{0, 0, seg}, {1, 0, seg}, {seg - 1, 0, seg}, {seg, seg, seg}, {3*seg + 7, 3 * seg, seg}, {12345, 12345, 0},
	} {
		if got := tt.lsn.SegmentStart(tt.size); got != tt.want {
			t.Errorf("(%s).SegmentStart(%d) = %s, want %s", tt.lsn, tt.size, got, tt.want)
		}
	}
}

func TestTimelineHistory(t *testing.T) {
	h := sampleHistory() // 1 to 0/5000028, 2 to 16/B374D848, 3
	for _, tt := range []struct {
		name string
		t    messages.Timeline
		lsn  messages.LSN
		want bool
	}{
		{"the current timeline has no end", 3, math.MaxUint64, true},
		{"an ancestor before its end", 1, 0x5000000, true},
		{"an ancestor at its end", 1, 0x5000028, true},
		{"an ancestor past its end", 1, 0x5000029, false},
		{"a later ancestor", 2, 0x16_B374D848, true},
		{"a timeline of another branch", 4, 1, false},
		{"no timeline", 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := h.Contains(tt.t, tt.lsn); got != tt.want {
				t.Errorf("Contains(%s, %s) = %v", tt.t, tt.lsn, got)
			}
		})
	}
	if fork, ok := h.ForkPoint(2); !ok || fork != 0x16_B374D848 {
		t.Errorf("ForkPoint(2) = %s, %v", fork, ok)
	}
}

func TestNames(t *testing.T) {
	cluster := func(s string) error { _, err := messages.ParseClusterName(s); return err }
	node := func(s string) error { _, err := messages.ParseNodeName(s); return err }
	dataset := func(s string) error { _, err := messages.ParseDataset(s); return err }
	relative := func(s string) error { _, err := messages.ParseRelName(s); return err }
	snapshot := func(s string) error { _, err := messages.ParseSnapshotName(s); return err }
	for _, tt := range []struct {
		what     string
		parse    func(string) error
		good     []string
		bad      []string
		badBytes string // each of them within a good name
	}{
		{
			"cluster", cluster,
			[]string{"main", "a", "1", "a-b", "all", strings.Repeat("x", 32)},
			[]string{"", "-a", "a-", "Main", "a_b", "a.b", strings.Repeat("x", 33), strings.Repeat("x", 999)},
			" /@#>*\x00\né",
		},
		{"node", node, []string{"db2", "db-2"}, []string{"", "all", "-", "Db", "db_2"}, " ./>*"},
		{
			"dataset", dataset,
			[]string{"tank", "tank/pg data/15", "tank/a.b:c_d-e", "Tank/PG", "t/" + strings.Repeat("x", 253)},
			[]string{"", "/", "tank/", "/tank", "tank//pg", "tank/.", "tank/..", "../tank", "-r", "tank/-r", "tank@x", strings.Repeat("x", 256)},
			"@#%\x00\n\té\\'\"*",
		},
		{"relative name", relative, []string{"", "wal", "ts fast/deep"}, []string{"/", "/wal", "wal/", "..", "a/../b", "-o"}, "@#\x00"},
		{
			"snapshot", snapshot,
			[]string{"tank@a", "tank/pg data#a b", "tank@pgresync-06dkx6g0g800000000000001"},
			[]string{"", "tank", "@a", "tank@", "tank@a@b", "tank@a#b", "tank#a@b", "tank@a/b", "tank@-r", "tank@.", "-t@a", "tank@" + strings.Repeat("x", 251)},
			"%\x00\n",
		},
	} {
		for _, s := range tt.good {
			if err := tt.parse(s); err != nil {
				t.Errorf("%s %q: %v", tt.what, s, err)
			}
		}
		for _, c := range tt.badBytes {
			tt.bad = append(tt.bad, "a"+string(c)+"b")
		}
		for _, s := range tt.bad {
			err := tt.parse(s)
			switch {
			case err == nil && tt.what == "snapshot" && strings.Count(s, "@") == 1 && s == "a@b":
			case err == nil:
				t.Errorf("%s %q is accepted", tt.what, s)
			case len(err.Error()) > 400:
				t.Errorf("%s: the error repeats all of a long input", tt.what)
			}
		}
	}
}

func TestDatasetParts(t *testing.T) {
	d := messages.Dataset("tank/pg data/wal")
	if d.Pool() != "tank" || d.Parent() != "tank/pg data" || messages.Dataset("tank").Parent() != "" || messages.Dataset("tank").Pool() != "tank" {
		t.Errorf("pool %q, parent %q", d.Pool(), d.Parent())
	}
	if d.Child("") != d || d.Child("x/y") != "tank/pg data/wal/x/y" {
		t.Errorf("children %q, %q", d.Child(""), d.Child("x/y"))
	}
	for _, tt := range []struct {
		root messages.Dataset
		want messages.RelName
		ok   bool
	}{
		{"tank/pg data/wal", "", true},
		{"tank/pg data", "wal", true},
		{"tank", "pg data/wal", true},
		{"tank/pg", "", false},
		{"tank/pg data/wal/x", "", false},
	} {
		got, ok := d.Rel(tt.root)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("Rel(%q) = %q, %v", tt.root, got, ok)
		}
	}
	s := d.Snapshot("x")
	if s != "tank/pg data/wal@x" || s.Dataset() != d || s.Short() != "x" || s.IsBookmark() {
		t.Errorf("snapshot %q of %q, short %q", s, s.Dataset(), s.Short())
	}
	b := messages.SnapshotName("tank#x")
	if !b.IsBookmark() || b.Dataset() != "tank" || b.Short() != "x" {
		t.Errorf("bookmark %q", b)
	}
	if n := messages.SnapshotName("tank"); n.Dataset() != "tank" || n.Short() != "" || n.IsBookmark() {
		t.Errorf("a name without '@': %q %q", n.Dataset(), n.Short())
	}
}

func TestHistory(t *testing.T) {
	h := messages.History{
		{GUID: 3, CreateTXG: 30},
		{GUID: 1, CreateTXG: 10, Bookmark: true},
		{GUID: 2, CreateTXG: 20},
		{GUID: 1, CreateTXG: 10},
		{GUID: 4, CreateTXG: 5, Bookmark: true},
		{GUID: 5, CreateTXG: 10},
	}
	h.Sort()
	var order []messages.GUID
	for _, s := range h {
		order = append(order, s.GUID)
	}
	if want := []messages.GUID{4, 1, 5, 1, 2, 3}; !slices.Equal(order, want) || h[1].Bookmark || !h[3].Bookmark {
		t.Errorf("sorted %v, want %v, snapshots before bookmarks", order, want)
	}
	slices.Reverse(h)
	if s, ok := h.ByGUID(1); !ok || s.Bookmark {
		t.Errorf("ByGUID(1) = %+v, %v, want the snapshot", s, ok)
	}
	if s, ok := h.ByGUID(4); !ok || !s.Bookmark {
		t.Errorf("ByGUID(4) = %+v, %v, want the bookmark", s, ok)
	}
	if _, ok := h.ByGUID(9); ok {
		t.Error("ByGUID(9) finds something")
	}
}

func TestVersionsAndIdentifiers(t *testing.T) {
	if v := messages.PGVersion(150018); v.Major() != 15 || v.String() != "15.18" {
		t.Errorf("150018 is %s, major %d", v, v.Major())
	}
	for _, s := range []string{"", "0", "-1", "x", "18446744073709551616", "1.0"} {
		if _, err := messages.ParseSystemID(s); err == nil {
			t.Errorf("system identifier %q is accepted", s)
		}
	}
	for _, s := range []string{"", "-1", "x", "18446744073709551616"} {
		if _, err := messages.ParseGUID(s); err == nil {
			t.Errorf("GUID %q is accepted", s)
		}
		if err := new(messages.TXG).UnmarshalText([]byte(s)); err == nil {
			t.Errorf("txg %q is accepted", s)
		}
	}
	if g, err := messages.ParseGUID("0"); err != nil || g != 0 {
		t.Errorf("GUID 0 means no snapshot: %v, %v", g, err)
	}
}

func TestUnmarshalTextChecks(t *testing.T) {
	for name, tt := range map[string]struct {
		into encoding.TextUnmarshaler
		good string
		bad  []string
	}{
		"LSN":      {new(messages.LSN), "1/2", []string{"", "1"}},
		"cluster":  {new(messages.ClusterName), "main", []string{"", "a.b"}},
		"node":     {new(messages.NodeName), "db2", []string{"", "all", ">"}},
		"system":   {new(messages.SystemID), "42", []string{"", "0"}},
		"dataset":  {new(messages.Dataset), "tank/a b", []string{"", "-r", "tank@x"}},
		"relative": {new(messages.RelName), "a b", []string{"..", "/x"}},
		"snapshot": {new(messages.SnapshotID), string(snapID), []string{"x", string(snapID) + "0", strings.ToUpper(string(snapID)), strings.Replace(string(snapID), "0", "l", 1)}},
		"resync":   {new(messages.ResyncID), string(resyncID), []string{"../../../../../../../../x", strings.Repeat(".", 24)}},
		"stream":   {new(messages.StreamID), string(streamID), []string{strings.ToUpper(string(streamID)), string(streamID[1:]), strings.Repeat("*", 32)}},
		"token":    {new(messages.ResumeToken), "1-c0ffee-12-ab", []string{"-1", "1-xyz", "1 2", "1-AB", "1;rm", strings.Repeat("1", 4097)}},
		"GUID":     {new(messages.GUID), "7", []string{"", "x"}},
		"txg":      {new(messages.TXG), "7", []string{"", "x"}},
	} {
		if err := tt.into.UnmarshalText([]byte(tt.good)); err != nil {
			t.Errorf("%s %q: %v", name, tt.good, err)
		}
		for _, s := range tt.bad {
			if err := tt.into.UnmarshalText([]byte(s)); err == nil {
				t.Errorf("%s %q is accepted", name, s)
			}
		}
	}
}

func TestTextRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Min(1).Draw(t, "n")
		var (
			l messages.LSN
			g messages.GUID
			s messages.SystemID
			x messages.TXG
		)
		for _, v := range []struct {
			from encoding.TextMarshaler
			to   encoding.TextUnmarshaler
			back func() uint64
		}{
			{messages.LSN(n), &l, func() uint64 { return uint64(l) }},
			{messages.GUID(n), &g, func() uint64 { return uint64(g) }},
			{messages.SystemID(n), &s, func() uint64 { return uint64(s) }},
			{messages.TXG(n), &x, func() uint64 { return uint64(x) }},
		} {
			b, err := v.from.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			if err := v.to.UnmarshalText(b); err != nil || v.back() != n {
				t.Fatalf("%T %d became %d: %v", v.from, n, v.back(), err)
			}
		}
	})
}
