// Package pace tells how fast a transfer goes and when it will be done. It is
// arithmetic: the time is an argument.
package pace

import (
	"math"
	"time"
)

// memory is how long the past counts: long enough to smooth parts that arrive at
// once, short enough to show a change.
const memory = 15 * time.Second

// Meter measures how fast a total grows. Its zero value is ready.
type Meter struct {
	began bool
	last  time.Time
	total uint64
	rate  float64 // bytes per second
	sure  float64 // how much of the memory has been filled, 0 to 1
}

// Observe takes the total of now. A total that shrank begins anew.
func (m *Meter) Observe(now time.Time, total uint64) {
	elapsed := now.Sub(m.last)
	switch {
	case !m.began || total < m.total:
		*m = Meter{began: true, last: now, total: total}
		return
	case elapsed <= 0:
		return
	}
	// An exponential average; until the memory is filled, the plain one.
	weight := 1 - math.Exp(-float64(elapsed)/float64(memory))
	m.sure += (1 - m.sure) * weight
	m.rate += (float64(total-m.total)/elapsed.Seconds() - m.rate) * weight / m.sure
	m.last, m.total = now, total
}

// Rate is in bytes per second.
func (m *Meter) Rate() uint64 { return uint64(max(m.rate, 0)) }

// Left is how long the rest will take at this rate; 0 when that cannot be told:
// the estimate is unknown or was passed, or nothing moves.
func (m *Meter) Left(estimate uint64) time.Duration {
	if estimate <= m.total || m.rate < 1 {
		return 0
	}
	seconds := float64(estimate-m.total) / m.rate
	if seconds > (365 * 24 * time.Hour).Seconds() {
		return 0
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
