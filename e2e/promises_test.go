package e2e

import (
	"os"
	"testing"
)

// part is what a part of TestPromises has: a type of its own tells parts from helpers.
type part struct{ *testing.T }

// TestPromises runs in the order of the list, in one world; each part also runs
// alone, on a world that ready has brought into order.
func TestPromises(t *testing.T) {
	s := newStage(t)
	for _, p := range []struct {
		name string
		test func(t part)
		// unsettled parts have not been seen to pass from end to end; make test-faults asks for them.
		unsettled bool
	}{
		{"two standbys are seeded at once from one upload", s.seedsTwoFromOneUpload, false},
		{"children and tablespace come along and the WAL does not", s.layoutIsRebuilt, false},
		{"a trigger by the stock command moves an increment while reads are served", s.triggerMovesAnIncrement, false},
		{"events are readable", s.eventsAreReadable, false},
		{"a lost slot is noticed and cured by an increment", s.lostSlotIsNoticed, false},
		{"diverged data is kept", s.divergedDataIsKept, false},
		{"the old copy serves again when PostgreSQL refuses to start", s.revertsWhenPostgreSQLRefuses, false},
		{"a trigger published while the sidecar is down is obeyed", s.triggerWhileDownIsObeyed, false},
		{"another cluster is refused", s.wrongClusterIsRefused, false},
		{"a cut send is never applied", s.cutSendIsNeverApplied, false},
		{"a secondary killed while it receives goes on", s.secondaryKilledMidReceive, false},
		{"a secondary killed in the switch goes on", s.secondaryKilledInTheSwitch, true},
		{"a primary killed in the bracket leaves nothing open", s.primaryKilledInTheBracket, true},
		{"a primary killed in the upload goes on", s.primaryKilledInTheUpload, true},
		{"a foreign snapshot of the live copy survives", s.foreignSnapshotOfTheLiveCopySurvives, false},
		{"foreign datasets and snapshots are untouched", s.foreignIsUntouched, false},
	} {
		run := func(t *testing.T) {
			t.Helper()
			if p.unsettled && os.Getenv("PGRESYNC_TEST_FAULTS") != "1" {
				t.Skip("not asked for; see make test-faults")
			}
			p.test(part{t})
		}
		if !t.Run(p.name, run) {
			t.Logf("%q failed; what follows may fail because of it", p.name)
		}
	}
}
