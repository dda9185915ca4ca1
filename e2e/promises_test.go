package e2e

import "testing"

// TestPromises runs in the order of the list, in one world; each part also runs
// alone, on a world that ready has brought into order.
func TestPromises(t *testing.T) {
	failures := sayAgain(t)
	s := newStage(t)
	failures.all(t, []step{
		{"two standbys are seeded at once from one upload", s.seedsTwoFromOneUpload},
		{"children and tablespace come along and the WAL does not", s.layoutIsRebuilt},
		{"a trigger by the stock command moves an increment while reads are served", s.triggerMovesAnIncrement},
		{"events are readable", s.eventsAreReadable},
		{"the operator's command shows and acts", s.theOperatorsCommand},
		{"a slow standby harms nobody", s.slowStandbyHarmsNobody},
		{"a lost slot is noticed and cured by an increment", s.lostSlotIsNoticed},
		{"diverged data is kept", s.divergedDataIsKept},
		{"the old copy serves again when PostgreSQL refuses to start", s.revertsWhenPostgreSQLRefuses},
		{"a trigger published while the sidecar is down is obeyed", s.triggerWhileDownIsObeyed},
		{"another cluster is refused", s.wrongClusterIsRefused},
		{"a cut send is never applied", s.cutSendIsNeverApplied},
		{"a foreign snapshot of the live copy survives", s.foreignSnapshotOfTheLiveCopySurvives},
		{"foreign datasets and snapshots are untouched", s.foreignIsUntouched},
	})
}

// TestCrashes is more of TestPromises, for a machine of its own.
func TestCrashes(t *testing.T) {
	failures := sayAgain(t)
	s := newStage(t)
	failures.all(t, []step{
		{"a secondary killed while it receives goes on", s.secondaryKilledMidReceive},
		{"a secondary killed in the switch goes on", s.secondaryKilledInTheSwitch},
		{"a primary killed in the bracket leaves nothing open", s.primaryKilledInTheBracket},
		{"a primary killed in the upload goes on", s.primaryKilledInTheUpload},
	})
}
