package sidecar

import (
	"math"
	"runtime/debug"
)

// Room is what a sidecar needs in memory beside the parts of streams: chunks in
// flight, documents, stacks.
const Room = 64 << 20

// HeapWithServer is the least limit where a NATS server runs in the sidecar. Its
// caches of blocks grow with what the collector leaves alone: 376 MiB were resident
// without a limit, 190 with this one, at 6 % more of its processor time.
const HeapWithServer = 176 << 20

// LimitMemory has the collector run before the heap exceeds limit bytes. Left
// alone it waits until the heap is twice what is in use, and a reader of 32 MiB
// parts was seen with 199 MiB; with a limit it stays below, at no cost that could
// be measured (docs/performance.md). An operator's GOMEMLIMIT wins.
//
// It is a soft limit: a heap that needs more gets more, and is collected more
// often.
func LimitMemory(limit int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(limit)
	}
}
