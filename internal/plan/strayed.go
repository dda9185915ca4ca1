package plan

import "github.com/pgresync/pgresync/messages"

// Strayed is evidence that this copy has, or may have, replayed what the primary's
// log does not have, "" for none. It is for who is about to replace the copy, whatever
// for: nothing is waited for, and in doubt the copy is kept. The primary must have
// been asked after the standby.
func (f Facts) Strayed() string {
	// Whose receiver streams on a promotion that does not publish follows another line.
	if s := f.stand(); s.timeline > f.Primary.Identity.Timeline.Current {
		return offHistory(f, s).Evidence
	}
	// What streams on the primary's own line has not left it.
	for _, r := range []rule{apart, streaming, diverged} {
		if d, ok := r(f, Policy{}); ok {
			if d.Reason == messages.ReasonDiverged {
				return d.Evidence
			}
			return ""
		}
	}
	return ""
}
