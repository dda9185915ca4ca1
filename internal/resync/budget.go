package resync

import "time"

const day = 24 * time.Hour

// Pace is how fast attempts follow each other: Min after the first failure,
// doubling, at most Max. The zero value is DefaultPace.
type Pace struct{ Min, Max time.Duration }

// DefaultPace is for those who were given none.
var DefaultPace = Pace{5 * time.Second, 10 * time.Minute}

// BackOff is DefaultPace's.
func BackOff(attempts int, rnd float64) time.Duration { return DefaultPace.BackOff(attempts, rnd) }

// BackOff is how long to wait after the attempts-th failure in a row. rnd, in
// [0,1), spreads it by a quarter either way, lest standbys that lost the same
// primary come back as one.
func (p Pace) BackOff(attempts int, rnd float64) time.Duration {
	if p.Min <= 0 || p.Max < p.Min {
		p = DefaultPace
	}
	d := p.Min
	for i := 1; i < attempts && d < p.Max; i++ {
		d *= 2
	}
	spread := 0.75 + min(max(rnd, 0), 1)/2
	return min(time.Duration(float64(min(d, p.Max))*spread), p.Max)
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

// Failed notes a failure in the journal's phase and reports whether it is the
// most-th of its kind in a row: then a further attempt would be the next turn of a
// loop. A most of 0 or less is no limit. passing failures, those of a publisher or
// network that is away, neither count nor break the row: they end by themselves,
// however long that takes.
func (j *Journal) Failed(passing bool, most int) (loop bool) {
	j.Attempts++
	if passing {
		return false
	}
	if j.FailedIn != j.Phase {
		j.FailedIn, j.Repeats = j.Phase, 0
	}
	j.Repeats++
	return most > 0 && j.Repeats >= most
}
