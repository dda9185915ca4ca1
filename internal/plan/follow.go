package plan

import "github.com/pgresync/pgresync/messages"

// follow adds the cure for a standby whose copy is told to stream from a node that
// no longer has the lease: it is pointed at the one that has. It is right only
// where the position is in the new primary's history; past the fork no connection
// helps.
func follow(d Diagnosis, f Facts) Diagnosis {
	if !f.Misdirected || d.Cure != CureNone || f.Primary == nil || f.Primary.Identity.Role != messages.RolePrimary {
		return d
	}
	if d.Verdict != messages.VerdictHealthy && d.Verdict != messages.VerdictWait || f.Local == nil || !f.inRecovery() {
		return d
	}
	if s := f.stand(); s.timeline == 0 || !f.Primary.Identity.Timeline.Contains(s.timeline, s.lsn) {
		return d
	}
	d.Cure = CureFollow
	return d
}
