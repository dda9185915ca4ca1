package daemon

// The names of log fields. One thing has one name in every line, so that logs of
// several nodes can be searched together.
const (
	KeyAddress  = "address"  // where something listens
	KeyAttempt  = "attempt"  // number of a try, from 1
	KeyBytes    = "bytes"    // bytes moved
	KeyCluster  = "cluster"  // messages.ClusterName
	KeyDataset  = "dataset"  // full ZFS name
	KeyDuration = "duration" // how long it took, as 1.5s
	KeyEvidence = "evidence" // what a verdict rests on
	KeyExitCode = "exit_code"
	KeyFailures = "failures" // failures in a row
	KeyLease    = "lease"    // revision of the publisher's lease
	KeyLoop     = "loop"     // name of a supervised loop
	KeyLSN      = "lsn"
	KeyNode     = "node"     // messages.NodeName
	KeyPhase    = "phase"    // messages.Phase
	KeyReason   = "reason"   // messages.Reason
	KeyRemedy   = "remedy"   // what an operator can do
	KeyResync   = "resync"   // messages.ResyncID
	KeyRetryIn  = "retry_in" // pause before the next try, as 1.5s
	KeyRole     = "role"     // messages.Role
	KeySidecar  = "sidecar"  // primary or secondary
	KeySlot     = "slot"     // replication slot
	KeySnapshot = "snapshot" // messages.SnapshotID
	KeyStream   = "stream"   // messages.StreamID
	KeyTime     = "time"
	KeyTimeline = "timeline"
	KeyVerdict  = "verdict" // messages.Verdict
	KeyVersion  = "version" // of this build
)
