// Package operator is what the operator's command knows of a cluster: it asks
// every sidecar, puts the answers together into one row per node, and waits for a
// resync to end. It shows nothing; that is cmd/pgresync's business.
package operator
