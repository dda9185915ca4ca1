package settings

import (
	"strings"
	"testing"
)

// Environment comes from an operator's file, and from whoever can write to it.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"1GiB", "10MiB/s", "a,b,,c", "nats://u:p@h:4222,tls://t@h", "embedded", "nats://[::1]:4222", "x y/z, é", "99999999999999999999", "-1", "0x10", "1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var size, size2 Size
		if size.UnmarshalText([]byte(in)) == nil && (size2.UnmarshalText([]byte(size.String())) != nil || size2 != size) {
			t.Errorf("size %q printed as %s", in, size)
		}
		var rate, rate2 Rate
		if rate.UnmarshalText([]byte(in)) == nil && (rate2.UnmarshalText([]byte(rate.String())) != nil || rate2 != rate) {
			t.Errorf("rate %q printed as %s", in, rate)
		}
		var names RelNames
		if names.UnmarshalText([]byte(in)) == nil && strings.ContainsAny(names.String(), "\x00\n@#") {
			t.Errorf("names %q are accepted", in)
		}
		var words Words
		_ = words.UnmarshalText([]byte(in))
		var servers Servers
		_ = servers.UnmarshalText([]byte(in))
	})
}

// A password in a server's URL is not printed, however broken the rest.
func FuzzServersAreRedacted(f *testing.F) {
	f.Add("nats", "host:4222", "/x?y=z")
	f.Add("tls", "h", "")
	f.Add("", "@", "://")
	f.Fuzz(func(t *testing.T, scheme, host, tail string) {
		const marker = "m4rkerSecret"
		if strings.Contains(scheme+host+tail, "m") || strings.ContainsAny(scheme, ",:/@ ") {
			return
		}
		var s Servers
		err := s.UnmarshalText([]byte(scheme + "://user:" + marker + "@" + host + tail))
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("the complaint shows the password: %v", err)
		}
		if err == nil && strings.Contains(s.String(), marker) {
			t.Errorf("printed: %s", s)
		}
	})
}
