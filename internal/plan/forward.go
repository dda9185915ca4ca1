package plan

import (
	"time"

	"github.com/pgresync/pgresync/messages"
)

// ForwardPolicy says when a standby that streams, but is far behind, is replaced by
// a copy that is not.
type ForwardPolicy struct {
	// Enabled is the operator's wish: it costs a moment of down time.
	Enabled bool
	// Least is the shortest time to catch up that is worth it.
	Least time.Duration
	// Rate is the speed of a transfer in bytes per second.
	Rate uint64
}

// forwardGain is how much sooner a copy must be there: both times are estimates.
const forwardGain = 2

// forwardFixed is what a resync takes beside the transfer: snapshot, staging, switch
// and proof.
const forwardFixed = time.Minute

// Behind is for how long replay goes on at the least until the standby is where the
// primary is now; 0 when it is not behind, or when nothing follows from it: replay
// is paused, delayed on purpose, or held up by a query, so that there is no rate.
func (f Facts) Behind() time.Duration {
	r := f.Receiver
	if r == nil || !r.Streaming || r.Paused || r.Delay != 0 || f.ReplayRate == 0 || f.Primary == nil || r.ReplayLSN == 0 ||
		r.Timeline != f.Primary.Identity.Timeline.Current {
		return 0
	}
	return seconds(f.Primary.Identity.LSN.Sub(r.ReplayLSN), f.ReplayRate)
}

// seconds is how long so many bytes take, a year at most.
func seconds(bytes, rate uint64) time.Duration {
	const most = 365 * 24 * 3600
	return time.Duration(min(float64(bytes)/float64(rate), most) * float64(time.Second))
}

// WorthAnEstimate reports whether the size of an increment is worth asking for.
func WorthAnEstimate(f Facts, p ForwardPolicy) bool {
	return p.Enabled && p.Rate > 0 && f.Behind() >= max(p.Least, forwardFixed)
}

// slow: replaying the lag takes longer than an increment.
func slow(f Facts, p Policy) (Diagnosis, bool) {
	if f.Increment == 0 || !WorthAnEstimate(f, p.Forward) {
		return Diagnosis{}, false
	}
	behind, copied := f.Behind(), forwardFixed+seconds(f.Increment, p.Forward.Rate)
	if behind < forwardGain*copied {
		return Diagnosis{}, false
	}
	lag := f.Primary.Identity.LSN.Sub(f.Receiver.ReplayLSN)
	return verdict(messages.VerdictResync, messages.ReasonLagging,
		"replay is %d bytes behind and does %d bytes/s, which takes %s; an increment of about %d bytes takes %s",
		lag, f.ReplayRate, behind.Round(time.Second), f.Increment, copied.Round(time.Second)), true
}
