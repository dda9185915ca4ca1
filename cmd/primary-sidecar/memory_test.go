package main

import (
	"testing"

	"github.com/pgresync/pgresync/internal/daemon/settings"
)

// With the defaults a sidecar stays below 192 MiB, which is the limit of its heap
// and some 15 MiB; what is configured beyond has room, too.
func TestHeapLimitFollowsTheStreams(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		streams  int
		part     settings.Size
		embedded bool
		want     int64
	}{
		{2, 16 * mib, false, 160 * mib},
		{2, 16 * mib, true, 176 * mib},
		{1, 1 * mib, true, 176 * mib},
		{4, 16 * mib, false, 256 * mib},
		{4, 16 * mib, true, 256 * mib},
		{2, 32 * mib, false, 256 * mib},
	} {
		cfg := Config{MaxStreams: c.streams, PartSize: c.part}
		if c.embedded {
			cfg.NATS.URL = settings.Embedded
		}
		if got := heapLimit(cfg); got != c.want {
			t.Errorf("%d streams, parts of %s, embedded %t: limit is %d, want %d", c.streams, c.part, c.embedded, got, c.want)
		}
	}
}
