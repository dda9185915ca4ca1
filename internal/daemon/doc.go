// Package daemon is the plumbing that every long-running command of pgresync
// shares: supervised loops, signals, exit codes, the logger and its field names,
// health over HTTP, the systemd notification protocol, and the version. It knows
// nothing of ZFS, PostgreSQL or NATS.
package daemon
