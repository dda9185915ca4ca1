package plan

import (
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

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

// CanFollow says why a standby with this position cannot go on under another
// primary, "" when it can: its position is in the history, and the log since is
// there.
func CanFollow(id messages.Identity, p *messages.PrimaryFacts) (why string) {
	h := p.Identity.Timeline
	switch at := (stand{timeline: id.Timeline.Current, lsn: id.LSN, need: id.LSN}); {
	case id.SystemID != p.Identity.SystemID || p.Identity.Role != messages.RolePrimary:
		return fmt.Sprintf("%s is no primary of system identifier %s", p.Node, id.SystemID)
	case !h.Contains(at.timeline, at.lsn):
		return fmt.Sprintf("timeline %s of %s does not go through %s on timeline %s", h.Current, p.Node, at.lsn, at.timeline)
	case !(Facts{Primary: p}).available(at):
		return fmt.Sprintf("%s has the log from %s only, and %s is needed", p.Node, p.OldestWAL, at.lsn)
	}
	return ""
}
