package sidecar

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestTheHeapIsLimitedUnlessTheOperatorDid(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, c := range []struct{ operator, want int64 }{
		{math.MaxInt64, 128 << 20},
		{1 << 30, 1 << 30},
	} {
		debug.SetMemoryLimit(c.operator)
		LimitMemory(128 << 20)
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("limit with the operator's %d: got %d, want %d", c.operator, got, c.want)
		}
	}
}
