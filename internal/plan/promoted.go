package plan

import "github.com/pgresync/pgresync/messages"

// inRecovery is false when anything says that PostgreSQL is, or was when it
// stopped, a primary. I-1 hangs on it, so one voice is enough.
func (f Facts) inRecovery() bool {
	if f.Local != nil && f.Local.Role == messages.RolePrimary || f.Receiver != nil && !f.Receiver.InRecovery {
		return false
	}
	return f.Local != nil || f.Control == nil || !wasPrimary(f.Control.State)
}

// wasPrimary reads pg_controldata's state (PostgreSQL 15, pg_controldata.c,
// dbState). A standby says "in archive recovery" or "shut down in recovery".
func wasPrimary(state string) bool {
	return state == "in production" || state == "shutting down" || state == "shut down"
}

// publishes: the node is the primary of its cluster, nothing is to be resynced.
func publishes(f Facts, _ Policy) (Diagnosis, bool) {
	if f.Node == "" || f.Primary.Node != f.Node {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictWait, messages.ReasonPromoted, "this node publishes for its cluster now"), true
}

// outOfRecovery: another node has the lease, yet PostgreSQL here is (or was, when
// it stopped) a primary.
func outOfRecovery(f Facts, p Policy) (Diagnosis, bool) {
	if f.inRecovery() {
		return Diagnosis{}, false
	}
	t, lsn := f.ownLine()
	stopped := f.Local == nil && f.Receiver == nil
	if stopped && !f.abandoned(t) && f.StartFailures < startsBeforeResync {
		return verdict(messages.VerdictWait, messages.ReasonServerDown,
			"PostgreSQL is stopped and was a primary, on timeline %s; %s is the primary on timeline %s", t, f.Primary.Node, f.Primary.Identity.Timeline.Current).
			remedy("start PostgreSQL as a standby if it can follow; if it cannot: %s", f.trigger()), true
	}
	what := "is out of recovery"
	if stopped {
		what = "was a primary when it stopped"
	}
	h := f.Primary.Identity.Timeline
	d := verdict(messages.VerdictNeedsOperator, messages.ReasonPromoted,
		"PostgreSQL here %s on timeline %s at %s, while %s is the primary on timeline %s", what, t, lsn, f.Primary.Node, h.Current)
	if p.RejoinPromoted == RejoinAuto && f.provenAbandoned(t) {
		d.Verdict = messages.VerdictResync
		return d, true
	}
	if p.RejoinPromoted == RejoinNever {
		return d.remedy("decide which node is right; the policy forbids to rejoin this one, so make it a standby by hand"), true
	}
	return d.remedy("decide which node is right; if it is %s, let this one rejoin: %s", f.Primary.Node, f.trigger()), true
}

// ownLine is the branch that a primary has written, and how far at least.
func (f Facts) ownLine() (messages.Timeline, messages.LSN) {
	if f.Local != nil {
		return f.Local.Timeline.Current, f.Local.LSN
	}
	if f.Control != nil {
		return f.Control.Timeline, f.Control.CheckpointLSN
	}
	return 0, 0
}

// abandoned: the cluster has moved on to a newer timeline than t. A newer
// timeline wins, never an older one, and of two equal ones nothing is known.
func (f Facts) abandoned(t messages.Timeline) bool {
	return t != 0 && t < f.Primary.Identity.Timeline.Current && f.Primary.Lease != 0
}

// provenAbandoned is the exception of I-1. The checkpoint of a stopped server is
// a lower bound of what it wrote, so its position proves nothing either way.
func (f Facts) provenAbandoned(t messages.Timeline) bool {
	if f.Local != nil {
		return Abandoned(*f.Local, f.Primary)
	}
	return f.abandoned(t)
}

// Abandoned reports whether a running server that is out of recovery writes to a
// branch that its cluster has left: primary has the lease on a newer timeline, and
// that does not go through the server's position. A server that was promoted a
// moment ago and has no lease yet is on a newer timeline, and so never abandoned.
func Abandoned(local messages.Identity, primary *messages.PrimaryFacts) bool {
	t := local.Timeline.Current
	return Facts{Primary: primary}.abandoned(t) && primary.Identity.Role == messages.RolePrimary &&
		!primary.Identity.Timeline.Contains(t, local.LSN)
}
