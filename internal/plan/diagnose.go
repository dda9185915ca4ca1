package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Diagnose says whether the standby needs a resync. The first rule that applies
// decides; a resync for any reason but missing data, or a timeline that the publisher
// never had, is only the verdict after the same reason has held for p.Debounce.
func Diagnose(f Facts, p Policy, now time.Time) Diagnosis {
	f.Ahead = f.seenAhead()
	d := follow(judge(f, p), f)
	d.Position, d.Ahead = f.stand().lsn, f.Ahead
	return debounce(d, f, p, now)
}

// rule gives a verdict, or false when it has nothing to say.
type rule func(Facts, Policy) (Diagnosis, bool)

func judge(f Facts, p Policy) Diagnosis {
	for _, r := range []rule{
		noData, incurableStart, noPrimary, // these do without a publisher
		wrongCluster, wrongVersion, publishes, outOfRecovery,
		apart, slow, streaming, paused, moving, newer, startFails, diverged,
		walGone, slotGone, serverDown,
	} {
		if d, ok := r(f, p); ok {
			return d
		}
	}
	return verdict(messages.VerdictWait, messages.ReasonNotStreaming,
		"no wal receiver streams, but the primary %s still has the WAL at %s",
		f.Primary.Node, f.stand().lsn).
		remedy("look for the cause in this standby's server log: primary_conninfo, credentials, pg_hba.conf or the network")
}

func verdict(v messages.Verdict, r messages.Reason, evidence string, args ...any) Diagnosis {
	return Diagnosis{Verdict: v, Reason: r, Evidence: fmt.Sprintf(evidence, args...)}
}

func (d Diagnosis) remedy(format string, args ...any) Diagnosis {
	d.Remedy = fmt.Sprintf(format, args...)
	return d
}

// debounce keeps a first suspicion from costing a resync: most of what looks
// broken for a moment is a restart, a fail-over or a network that comes back.
func debounce(d Diagnosis, f Facts, p Policy, now time.Time) Diagnosis {
	if d.Cure == CureStart {
		return debounceStart(d, f, p, now)
	}
	if d.Verdict != messages.VerdictResync && d.Reason != messages.ReasonDiverged || d.Reason == messages.ReasonNoData {
		return d
	}
	since := f.SuspectSince
	if !sameSuspicion(f.Suspect, d.Reason) || since.IsZero() || since.After(now) {
		since = now
	}
	d.Suspect, d.SuspectSince = d.Reason, since
	if held := now.Sub(since); held < p.Debounce {
		d.Evidence = fmt.Sprintf("%s, seen for %s of the %s it must hold: %s",
			d.Reason, held.Round(time.Millisecond), p.Debounce, d.Evidence)
		d.Verdict, d.Reason, d.Remedy = messages.VerdictWait, messages.ReasonNotYetSure, ""
	}
	return d
}

// debounceStart leaves a unit that restarts by itself, or the person who works on
// the node, the time to be first.
func debounceStart(d Diagnosis, f Facts, p Policy, now time.Time) Diagnosis {
	since := f.SuspectSince
	if f.Suspect != d.Reason || since.IsZero() || since.After(now) {
		since = now
	}
	d.Suspect, d.SuspectSince = d.Reason, since
	if held := now.Sub(since); held < p.Debounce {
		d.Evidence += fmt.Sprintf("; it is started in %s", (p.Debounce - held).Round(time.Millisecond))
		d.Cure = CureNone
	}
	return d
}

// sameSuspicion: a slot that is dropped after its WAL has gone is one story.
func sameSuspicion(a, b messages.Reason) bool {
	wal := func(r messages.Reason) bool { return r == messages.ReasonWALGone || r == messages.ReasonSlotLost }
	return a == b || wal(a) && wal(b)
}

func noData(f Facts, _ Policy) (Diagnosis, bool) {
	switch {
	case f.DataPresent:
		return Diagnosis{}, false
	case f.Local != nil || f.Server == ServerRunning:
		// A postmaster notices within a minute that its directory is gone and stops
		// (PostgreSQL 15, postmaster.c, RecheckDataDirLockFile); a wrong setting stays.
		return verdict(messages.VerdictWait, messages.ReasonNoData,
			"the live dataset holds no PG_VERSION, yet PostgreSQL runs").
			remedy("correct the configured dataset or data directory if PostgreSQL runs from another place"), true
	case f.Primary == nil:
		return unknownPrimary(f, "there is no data here, and no publisher to copy from answers"), true
	}
	return verdict(messages.VerdictResync, messages.ReasonNoData,
		"the live dataset is missing or holds no PG_VERSION"), true
}

// startsBeforeResync is how often PostgreSQL may fail to start before its data is
// held to be the cause.
const startsBeforeResync = 2

// incurableStart: a copy would fail for the same reason (I-12).
func incurableStart(f Facts, _ Policy) (Diagnosis, bool) {
	if f.Local != nil || f.StartFailures == 0 {
		return Diagnosis{}, false
	}
	switch f.StartFailureClass {
	case FailureSettings:
		return verdict(messages.VerdictNeedsOperator, messages.ReasonSettingsTooLow,
			"PostgreSQL refuses to start: a parameter is lower than on the primary").
			remedy("raise max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions and " +
				"max_locks_per_transaction here to the primary's values (the server log names the one), then start PostgreSQL"), true
	case FailureOther:
		if f.StartFailures < startsBeforeResync {
			return Diagnosis{}, false
		}
		return verdict(messages.VerdictNeedsOperator, messages.ReasonServerDown,
			"PostgreSQL failed to start %d times in a row, and not because of its data", f.StartFailures).
			remedy("read the server log, mend the configuration, start PostgreSQL"), true
	case FailureUnknown, FailureStorage:
	}
	return Diagnosis{}, false
}

// noPrimary: nothing is decided from one side only, but a standby that streams
// needs no publisher to be well.
func noPrimary(f Facts, _ Policy) (Diagnosis, bool) {
	switch {
	case f.Primary != nil && f.Primary.Identity.Role == messages.RolePrimary:
		return Diagnosis{}, false
	case f.inRecovery() && f.Receiver != nil && f.Receiver.Streaming:
		return healthy(f), true
	case f.Primary != nil:
		return unknownPrimary(f, fmt.Sprintf("the publisher %s says that its PostgreSQL is no primary (%s)",
			f.Primary.Node, f.Primary.Identity.Role)), true
	}
	return unknownPrimary(f, "no publisher answers"), true
}

func unknownPrimary(f Facts, evidence string) Diagnosis {
	if f.PrimaryErr != "" {
		evidence += ": " + f.PrimaryErr
	}
	return verdict(messages.VerdictWait, messages.ReasonPrimaryUnknown, "%s", evidence)
}

func wrongCluster(f Facts, _ Policy) (Diagnosis, bool) {
	want, have := f.Primary.Identity.SystemID, messages.SystemID(0)
	switch {
	case f.Local != nil:
		have = f.Local.SystemID
	case f.Control != nil:
		have = f.Control.SystemID
	}
	if have == 0 || have == want {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictNeedsOperator, messages.ReasonWrongCluster,
		"system identifier %s here, %s on the primary %s", have, want, f.Primary.Node).
		remedy("this data is of another cluster: correct the cluster name or the dataset of this node, " +
			"or move the data away to let it be seeded"), true
}

func wrongVersion(f Facts, _ Policy) (Diagnosis, bool) {
	if f.Local == nil || f.Local.Version == 0 || f.Local.Version.Major() == f.Primary.Identity.Version.Major() {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictNeedsOperator, messages.ReasonWrongVersion,
		"PostgreSQL %s here, %s on the primary %s", f.Local.Version, f.Primary.Identity.Version, f.Primary.Node).
		remedy("run PostgreSQL %d here: a physical copy starts under the same major version only",
			f.Primary.Identity.Version.Major()), true
}

func healthy(f Facts) Diagnosis {
	at := strings.Builder{}
	if f.Receiver != nil {
		fmt.Fprintf(&at, ", timeline %s, replayed to %s", f.Receiver.Timeline, f.Receiver.ReplayLSN)
	}
	return verdict(messages.VerdictHealthy, messages.ReasonStreaming, "a wal receiver streams%s", at.String())
}

// streaming: the receiver's own word counts; the primary's stands in where
// PostgreSQL cannot be asked (hot_standby = off, missing pg_monitor).
func streaming(f Facts, _ Policy) (Diagnosis, bool) {
	switch {
	case f.Receiver != nil && f.Receiver.Streaming:
		// While the receiver runs its timeline is exact. One that follows a deposed
		// primary beyond the fork streams well and is lost all the same.
		h := f.Primary.Identity.Timeline
		if r := f.Receiver; r.Timeline != 0 && r.Timeline < h.Current && !h.Contains(r.Timeline, r.ReplayLSN) {
			return offHistory(f, stand{timeline: r.Timeline, lsn: r.ReplayLSN}), true
		}
		return healthy(f), true
	case f.Receiver == nil && f.Primary.Streaming && (f.Local != nil || f.Server == ServerRunning):
		return verdict(messages.VerdictHealthy, messages.ReasonStreaming,
			"the primary %s sees this standby streaming", f.Primary.Node), true
	}
	return Diagnosis{}, false
}

func startFails(f Facts, _ Policy) (Diagnosis, bool) {
	if f.Local != nil || f.StartFailures < startsBeforeResync {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictResync, messages.ReasonServerDown,
		"PostgreSQL failed to start %d times in a row", f.StartFailures), true
}

func paused(f Facts, _ Policy) (Diagnosis, bool) {
	if f.Receiver == nil || !f.Receiver.Paused {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictWait, messages.ReasonCatchingUp, "replay is paused at %s", f.Receiver.ReplayLSN).
		remedy("select pg_wal_replay_resume() when the pause is no longer wanted"), true
}

// moving: what gets ahead needs no help. It also covers a standby that replays
// its own WAL after a restart across a promotion, while its last restart point
// still names the old timeline.
func moving(f Facts, _ Policy) (Diagnosis, bool) {
	at := f.stand().lsn
	if f.Local == nil || f.Position == 0 || at <= f.Position {
		return Diagnosis{}, false
	}
	return verdict(messages.VerdictWait, messages.ReasonCatchingUp, "no wal receiver streams, but replay went on from %s to %s",
		f.Position, at), true
}

// serverDown: a start is the cheapest cure of data that could go on. A server that
// was shut down is its operator's business, unless the policy says otherwise.
func serverDown(f Facts, p Policy) (Diagnosis, bool) {
	if f.Local != nil {
		return Diagnosis{}, false
	}
	state := f.Server
	if state == "" {
		state = ServerUnknown
	}
	d := verdict(messages.VerdictWait, messages.ReasonServerDown, "PostgreSQL does not answer (state: %s)", state)
	if state == ServerUnknown && f.ServerErr != "" {
		d.Evidence += ": " + f.ServerErr
	}
	if state == ServerStopped {
		d = d.remedy("start PostgreSQL, or trigger a resync: %s", f.trigger())
		if f.restartable(p.Restart) {
			d.Cure = CureStart
		}
	}
	return d, true
}

// restartable reads pg_control's state: a standby's is "in archive recovery" while
// it runs, and stays so when it does not end by a shutdown.
func (f Facts) restartable(p RestartPolicy) bool {
	switch {
	case f.Control == nil || !f.DataPresent || !f.StandbySignal:
		return false
	case p == RestartCrashed:
		return f.Control.State == "in archive recovery"
	case p == RestartAlways:
		return f.Control.State == "in archive recovery" || f.Control.State == "shut down in recovery"
	}
	return false
}

func (f Facts) trigger() string {
	return fmt.Sprintf("nats pub %s ''", messages.Subjects{Cluster: f.Cluster}.TriggerResync(string(f.Node)))
}
