package settings

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0B", "1": "1B", "1024": "1KiB", "1500": "1500B", "32MiB": "32MiB", "32 MiB": "32MiB",
		"0.5GiB": "512MiB", "4GB": "3906250KiB", "2tib": "2TiB",
	} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s.String() != want {
			t.Errorf("%q: got %s, %v; want %s", in, s, err, want)
		}
	}
	for _, bad := range []string{"", "-1", "big", "1 mile", "99999999EiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %s, want an error", bad, s)
		}
	}
	var r Rate
	if err := r.UnmarshalText([]byte("50MiB/s")); err != nil || r != 50<<20 || r.String() != "50MiB/s" {
		t.Errorf("got %s, %v", r, err)
	}
}

func TestSizesPrintWithoutLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// humanize reads through a float64, which is exact up to 2^53.
		want := Size(rapid.Uint64Range(0, 1<<53).Draw(t, "bytes"))
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%d printed as %s and read as %d, %v", want, want, got, err)
		}
	})
}

func TestPairs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Pairs
	}{
		{"", Pairs{}},
		{"a=1", Pairs{"a": "1"}},
		{" a = 1 , b = x y ", Pairs{"a": "1", "b": "x y"}},
		{"a='1,2',b=", Pairs{"a": "1,2", "b": ""}},
		{"a='it''s' , b='='", Pairs{"a": "it's", "b": "="}},
		{"a=1,", Pairs{"a": "1"}},
	} {
		var got Pairs
		if err := got.UnmarshalText([]byte(c.in)); err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, diff)
		}
	}
	for _, bad := range []string{"a", "=1", "a,b=1", "a=1,a=2", "a='x", "a='x'y", "a=1,b"} {
		var p Pairs
		if err := p.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, p)
		}
	}
}

func FuzzPairs(f *testing.F) {
	f.Add("a=1,b='x,y'")
	f.Add("a=''''")
	f.Add("a= ' x ' ,b")
	f.Fuzz(func(t *testing.T, in string) {
		var p, again Pairs
		if p.UnmarshalText([]byte(in)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(p.String())); err != nil {
			t.Fatalf("%q printed as %q: %v", in, p, err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatalf("%q printed as %q (-first +second):\n%s", in, p, diff)
		}
	})
}

func TestNewestBinDirWins(t *testing.T) {
	file := &fstest.MapFile{}
	all := fstest.MapFS{
		"usr/lib/postgresql/9.6/bin/pg_ctl": file, "usr/lib/postgresql/15/bin/pg_ctl": file,
		"usr/lib/postgresql/17/bin/psql": file, "usr/pgsql-16/bin/pg_ctl": file, "usr/local/bin/pg_ctl": file,
	}
	onlyPath := fstest.MapFS{"usr/local/bin/pg_ctl": file}
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		path string
		want string
	}{
		{"the newest major version", all, "/usr/local/bin", "/usr/pgsql-16/bin"},
		{"else the first in PATH", onlyPath, "relative:/bin:/usr/local/bin", "/usr/local/bin"},
		{"else nothing", onlyPath, "/bin", ""},
	} {
		if got := findBinDir(c.fs, c.path); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDurationsPrintShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 10 * time.Second: "10s",
		time.Hour + time.Second: "1h0m1s", 1500 * time.Millisecond: "1.5s", 20 * time.Hour: "20h",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if back, err := time.ParseDuration(formatDuration(d)); err != nil || back != d {
			t.Errorf("%s reads as %v, %v", formatDuration(d), back, err)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"NATS_URL", "NTS_URL", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestWrapKeepsAllWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z ]{0,80}`).Draw(t, "text")
		lines := wrap(text, 20)
		if got, want := strings.Join(lines, " "), strings.Join(strings.Fields(text), " "); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		for _, line := range lines {
			if len(line) > 20 && strings.Contains(line, " ") {
				t.Fatalf("%q is longer than 20", line)
			}
		}
	})
}
