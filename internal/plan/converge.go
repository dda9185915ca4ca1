package plan

import (
	"slices"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Move is what a resync does next.
type Move string

// The moves.
const (
	// MovePass: another pass; no WAL is retained for it.
	MovePass Move = "pass"
	// MoveReserveAndPass: reserve the slot, then make what should be the last pass.
	MoveReserveAndPass Move = "reserve-and-pass"
	// MoveSwitch: the lineage is close enough; go on to staging.
	MoveSwitch Move = "switch"
)

// MaxPasses is the greatest useful ConvergePolicy.MaxPasses: a journal remembers
// no more of them.
const MaxPasses = 16

// ConvergePolicy bounds the converging passes.
type ConvergePolicy struct {
	// MaxPasses is 1 to MaxPasses; others count as the nearest of these.
	MaxPasses int
	// Short is the duration below which no further pass pays.
	Short time.Duration
	// Rate is the throughput in bytes per second that is assumed before any pass was
	// measured; 0 assumes nothing.
	Rate uint64
}

const (
	// tooLong times Short is where a reserved pass has let so much WAL pile up that
	// one more is the better deal.
	tooLong = 4
	// stalled is the share of the previous pass' duration from which on passes do not
	// shrink any more: the data changes as fast as it travels.
	stalled = 0.75
	// measurable is the least pass in bytes that says something about throughput.
	measurable = 1 << 20
)

// Next decides what follows the passes done so far (oldest first). estimate is
// the size of the next pass in bytes, 0 when unknown; reserved says that the last
// pass of done was made while the slot held the WAL.
//
// A long seed must not make the primary retain WAL for its whole duration, so the
// slot is reserved for the last pass only, and that is the first one expected to be
// short. A slot that was reserved before any pass was done is moved on by reserving
// it again.
func Next(c ConvergePolicy, done []messages.PassReport, estimate uint64, reserved bool) Move {
	left := min(max(c.MaxPasses, 1), MaxPasses) - len(done)
	if reserved && len(done) > 0 {
		if left > 0 && took(done[len(done)-1]) > tooLong*c.Short {
			return MoveReserveAndPass
		}
		return MoveSwitch
	}
	if left <= 1 || isFinal(c, done, estimate) {
		return MoveReserveAndPass
	}
	return MovePass
}

func isFinal(c ConvergePolicy, done []messages.PassReport, estimate uint64) bool {
	if shrinksNoMore(done) {
		return true
	}
	if rate := rateOf(c, done); estimate > 0 && rate > 0 {
		return float64(estimate)/rate < c.Short.Seconds()
	}
	// Nothing is known of the next pass: it will hardly take longer than the last.
	return len(done) > 0 && took(done[len(done)-1]) < c.Short
}

func shrinksNoMore(done []messages.PassReport) bool {
	if len(done) < 2 {
		return false
	}
	last, before := took(done[len(done)-1]), took(done[len(done)-2])
	return float64(last) >= stalled*float64(before)
}

func took(p messages.PassReport) time.Duration { return time.Duration(p.Millis) * time.Millisecond }

// rateOf is in bytes per second; of the last pass that was long enough to tell.
func rateOf(c ConvergePolicy, done []messages.PassReport) float64 {
	for _, p := range slices.Backward(done) {
		if p.Bytes >= measurable && p.Millis > 0 {
			return float64(p.Bytes) / took(p).Seconds()
		}
	}
	return float64(c.Rate)
}
