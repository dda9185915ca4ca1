package daemon

// The names of log fields of this package and of the commands; docs/logs.md has all.
const (
	KeyCluster  = "cluster" // messages.ClusterName
	KeyExitCode = "exit_code"
	KeyFailures = "failures" // failures in a row
	KeyLoop     = "loop"     // name of a supervised loop
	KeyNode     = "node"     // messages.NodeName
	KeyRetryIn  = "retry_in" // pause before the next try, as 1.5s
	KeySidecar  = "sidecar"  // primary or secondary
	KeyTime     = "time"
	KeyVersion  = "version" // of this build
)
