package settings

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestConninfoReadsLibpqsNotation(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Param
	}{
		{"", nil},
		{"host=a", []Param{{"host", "a"}}},
		{"  host = a \n port= 5432 ", []Param{{"host", "a"}, {"port", "5432"}}},
		{`password='a b' user=x`, []Param{{"password", "a b"}, {"user", "x"}}},
		{`password='it\'s \\' user=x`, []Param{{"password", `it's \`}, {"user", "x"}}},
		{`password=a\ b user=`, []Param{{"password", "a b"}, {"user", ""}}},
		{"host=a,b target_session_attrs=read-write", []Param{{"host", "a,b"}, {"target_session_attrs", "read-write"}}},
	} {
		got, err := Conninfo(c.in).Params()
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestConninfoRefusals(t *testing.T) {
	for _, in := range []string{"host", "host=a port", "=a", "Host=a", "a b=c", "password='x", "postgresql://u@h/"} {
		if got, err := Conninfo(in).Params(); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}

func TestConninfoValueIsTheLastOne(t *testing.T) {
	c := Conninfo("host=a user=u host=b")
	if got := c.Value("host"); got != "b" {
		t.Errorf("got %q, want b", got)
	}
	if got := c.Value("port"); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestConninfoRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Param {
			return Param{rapid.StringMatching(`[a-z_]{1,8}`).Draw(t, "key"), rapid.String().Draw(t, "value")}
		}), 1, 5).Draw(t, "params")
		got, err := Conninfo(FormatConninfo(want)).Params()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// FuzzConninfo: neither the printed form nor an error of a connection string ever
// holds its password, whatever else is in it.
func FuzzConninfo(f *testing.F) {
	f.Add("host=a ", " user=b")
	f.Add("postgresql://u:", "@h/db")
	f.Add("postgresql://h/?x=y&password=", "")
	f.Add("host='", "'")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "S3CR3T"
		c := Conninfo(before + " password=" + secret + after)
		if err := c.UnmarshalText([]byte(c)); err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("the error of %q shows the password: %v", string(c), err)
			}
			return
		}
		if c.isURI() || c.Value("password") != secret {
			return
		}
		if s := fmt.Sprintf("%v %s %q %d", c, c, c, c); strings.Contains(s, secret) {
			t.Fatalf("%q shows the password", s)
		}
	})
}

func TestURIsAreMasked(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"postgresql://h/db", "postgresql://h/db"},
		{"postgresql://u@h/db", "postgresql://u@h/db"},
		{"postgres://u:p@h1:1,h2:2/db?password=p&a=b", "postgres://u:***@h1:1,h2:2/db?password=***&a=b"},
		{"postgres://u:p/q@h/db", "postgres://***"},
		{"postgres://u:p@q@h/db", "postgres://u:***@h/db"},
	} {
		if got := Conninfo(c.in).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
	servers := Servers("nats://token@a, tls://u:p@b:4222 ,nats://c")
	if got, want := fmt.Sprintf("%v", servers), "nats://***@a,tls://u:***@b:4222,nats://c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestServers(t *testing.T) {
	for _, good := range []string{"embedded", " nats://a:1 , tls://b", "wss://u:p@c"} {
		var s Servers
		if err := s.UnmarshalText([]byte(good)); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ",", "a:4222", "http://a", "nats://", "nats://a,embedded"} {
		var s Servers
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
	if s := Servers("embedded"); !s.IsEmbedded() {
		t.Error("embedded is not recognised")
	}
}
