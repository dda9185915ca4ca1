// Package primary is the publisher's service: it holds the lease while its
// PostgreSQL is the primary, takes bracketed snapshots on a schedule, on a
// trigger or when a standby asks, answers the standbys' questions, and serves
// the zfs send streams they lack. It never blocks PostgreSQL (I-9): a bracket is
// bounded in time, and nothing else holds anything of the server's but slots that
// standbys reserved.
//
// The service sees ZFS, PostgreSQL and NATS only through the small interfaces of
// deps.go; the command's wire.go proves that the adapters fit.
package primary
