// Package secondary is the standby's service. It watches whether PostgreSQL
// streams, decides with package plan whether a resync is needed, and drives the
// machine of package resync: passes into the lineage, a clone prepared aside, the
// switch, the proof, and the way back when the proof fails.
//
// One goroutine, the engine, acts on datasets and on PostgreSQL. Everything it is
// about to do is journaled first in a user property of the lineage root, so that
// a restart at any point knows what to do next (I-10). The service sees ZFS,
// PostgreSQL and NATS only through the interfaces of deps.go.
package secondary
