package zfsops

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

// testdata travels in the test binary, which also runs on machines that have
// nothing else of the project.
//
//go:embed testdata/*.txt testdata/stderr/*.txt
var testdata embed.FS

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestParsePropertiesOfAValueWithTabsAndNewlines(t *testing.T) {
	out := "tank/a b\texample:note\tone\ttwo\nthree\tlocal\ntank/a b\tmounted\tyes\t-\ntank/a b\tatime\toff\tinherited from tank\n" +
		"tank/a b\txattr\tsa\ttemporary\ntank/a b\texample:empty\t\tlocal\n"
	got, err := parseProperties([]byte(out))
	want := []property{
		{"tank/a b", "example:note", value{"one\ttwo\nthree", "local"}},
		{"tank/a b", "mounted", value{"yes", "-"}},
		{"tank/a b", "atime", value{"off", "inherited from tank"}},
		{"tank/a b", "xattr", value{"sa", "temporary"}},
		{"tank/a b", "example:empty", value{"", "local"}},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(property{}, value{})); d != "" || err != nil {
		t.Fatal(d, err)
	}
	if _, err := parseProperties([]byte("tank\tx\ty\n")); err == nil {
		t.Fatal("a row without a source is accepted")
	}
}

func TestParsePropertiesOfOpenZFS239(t *testing.T) {
	got, err := parseProperties(read(t, "get-all-2.3.9.txt"))
	if err != nil || len(got) < 60 {
		t.Fatalf("%d properties, %v", len(got), err)
	}
}

func TestParseTableWantsItsFields(t *testing.T) {
	if _, err := parseTable([]byte("a\tb\n"), 3); err == nil {
		t.Fatal("a missing field is accepted")
	}
	got, err := parseTable([]byte("a b\t\t c \n"), 3)
	if err != nil || got[0][0] != "a b" || got[0][2] != " c " {
		t.Fatalf("got %q, %v", got, err)
	}
}

// listing is what zfs get prints of a file system for List, with some values changed.
func listing(name string, changed map[string]string) string {
	values := map[string]string{
		"type": "filesystem", "guid": "12", "mountpoint": "/x", "mounted": "yes", "canmount": "on", "origin": "-", "readonly": "off", "used": "1", "referenced": "2",
		"available": "3", "written": "4", "quota": "5", "refquota": "6", "recordsize": "131072", "compression": "lz4", "encryption": "off", "receive_resume_token": "-",
	}
	maps.Copy(values, changed)
	var out strings.Builder
	for _, key := range slices.Concat(infoProperties, messages.DatasetMarks()) {
		if v, ok := values[key]; ok && v != "missing" {
			source := "-"
			if strings.Contains(key, ":") {
				source = sourceLocal
			}
			fmt.Fprintf(&out, "%s\t%s\t%s\t%s\n", name, key, v, source)
		}
	}
	return out.String()
}

func TestParseInfos(t *testing.T) {
	out := listing("tank/x/a b", nil) + listing("tank/x", map[string]string{messages.PropCluster: "main"}) +
		"tank/x/a b\t" + messages.PropCluster + "\tmain\tinherited from tank/x\n"
	got, err := parseInfos(act{}, []byte(out))
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if i := got[0]; i.Name != "tank/x" || !i.Mounted || i.Origin != "" || i.Token != "" || i.RecordSize != 131072 || i.Marks[messages.PropCluster] != "main" {
		t.Errorf("got %+v", i)
	}
	if i := got[0]; i.Used != 1 || i.Available != 3 || i.Quota != 5 || i.RefQuota != 6 {
		t.Errorf("got %+v", i)
	}
	if i := got[1]; i.Name != "tank/x/a b" || len(i.Marks) != 0 {
		t.Errorf("got %+v, want no mark that is only inherited", i)
	}
	if _, err := parseInfos(act{}, []byte(listing("tank/", nil))); err == nil {
		t.Error("tank/ is accepted as a name")
	}
	for key, bad := range map[string]string{"guid": "x", "used": "1K", "recordsize": "128K", "receive_resume_token": "token; rm", "type": "volume", "mounted": "missing", "available": "missing"} {
		if _, err := parseInfos(act{}, []byte(listing("tank/x", map[string]string{key: bad}))); err == nil {
			t.Errorf("%s: %q is accepted", key, bad)
		}
	}
}

func TestParseHistoriesKeepsForeignNames(t *testing.T) {
	out := "tank\t1\t1\ntank@-odd\t5\t9\ntank#b\t4\t8\ntank/a b\t2\t2\n"
	got, err := parseHistories([]byte(out))
	want := map[messages.Dataset]messages.History{
		"tank": {
			{Name: "tank#b", GUID: 4, CreateTXG: 8, Bookmark: true},
			{Name: "tank@-odd", GUID: 5, CreateTXG: 9},
		},
		"tank/a b": nil,
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatal(d, err)
	}
	for _, bad := range []string{"tank@x\t1\n", "tank@x\ty\t1\n", "tank@x\t1\ty\n"} {
		if _, err := parseHistories([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseEstimate(t *testing.T) {
	for out, want := range map[string]uint64{
		"full\tmy pool/a b@s2\t12912\nsize\t12912\n":                    12912,
		"incremental\tmy pool/a b#s1\tmy pool/a b@s2\t624\nsize\t624\n": 624,
		"incremental\tmy pool/a b#s1\tmy pool/a b@s2\n":                 0,
		"": 0,
	} {
		if got := parseEstimate([]byte(out)); got != want {
			t.Errorf("%q: got %d, want %d", out, got, want)
		}
	}
}

func TestParsePool(t *testing.T) {
	want := messages.PoolInfo{GUID: 15468874915082064224, Size: 503316480, Free: 503009280, Capacity: 7, Health: "ONLINE"}
	for _, capacity := range []string{"7", "7%"} {
		got, err := parsePool([]byte("15468874915082064224\t503316480\t503009280\t" + capacity + "\tONLINE\n"))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Fatal(d, err)
		}
	}
	for _, bad := range []string{"", "x\t1\t1\t1\tONLINE\n", "1\t1\t1\tx\tONLINE\n", strings.Repeat("1\t1\t1\t1\tONLINE\n", 2)} {
		if _, err := parsePool([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseListings(f *testing.F) {
	f.Add([]byte("tank/a b\texample:note\tone\ttwo\nthree\tlocal\n"))
	f.Add([]byte("tank@x\t5\t9\ntank\t1\t1\n"))
	f.Add(read(f, "get-all-2.3.9.txt"))
	f.Add([]byte(listing("tank/a b", map[string]string{messages.PropCluster: "main"})))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseProperties(b)
		_, _ = parseHistories(b)
		_, _ = parseInfos(act{}, b)
		_, _ = parsePool(b)
		_, _ = parseTree(nil, b, b)
		_ = parseEstimate(b)
	})
}
