package plan

import "time"

// NextTrack is when the lineage of a healthy standby is to be refreshed next: at a
// multiple of the interval by the clock, so that all standbys of a cluster ask for
// one snapshot and one upload. The first one after now comes no sooner than a
// quarter of the interval, lest a sidecar that restarts all the time, or a resync
// that has just ended, costs one each.
func NextTrack(now time.Time, interval time.Duration) time.Time {
	next := now.Truncate(interval).Add(interval)
	if next.Sub(now) < interval/4 {
		next = next.Add(interval)
	}
	return next
}

// MayTrack reports whether there is room to refresh a lineage. What it holds in
// addition is what changed since the live copy was made, the whole database some day;
// a fifth of the pool is left for the rest of the world. Without numbers it may.
func MayTrack(used, available uint64) bool {
	return available >= used/4 // a fifth of used and available together
}
