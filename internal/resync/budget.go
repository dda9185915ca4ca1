package resync

import "time"

const (
	firstBackOff = 5 * time.Second
	maxBackOff   = 10 * time.Minute
	day          = 24 * time.Hour
)

// BackOff is how long to wait after the attempts-th failure in a row: 5 s, doubling,
// at most 10 min. rnd, in [0,1), spreads it by a quarter either way, lest standbys
// that lost the same primary come back as one.
func BackOff(attempts int, rnd float64) time.Duration {
	d := firstBackOff
	for i := 1; i < attempts && d < maxBackOff; i++ {
		d *= 2
	}
	spread := 0.75 + min(max(rnd, 0), 1)/2
	return min(time.Duration(float64(min(d, maxBackOff))*spread), maxBackOff)
}

// OverBudget reports whether the starts of the last 24 hours have used up perDay; a
// perDay of 0 or less is no limit, one above MaxBegun counts as MaxBegun. Starts in
// the near future count, too: a clock that was set back must not reopen the budget.
func OverBudget(begun []time.Time, now time.Time, perDay int) bool {
	if perDay <= 0 {
		return false
	}
	used := 0
	for _, t := range begun {
		if now.Sub(t).Abs() < day {
			used++
		}
	}
	return used >= min(perDay, MaxBegun)
}
