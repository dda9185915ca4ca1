// Package simulation has no code but tests: whole nodes, with both services and the
// real ZFS adapter on a fake zfs command, around a PostgreSQL that is a few
// variables. What takes real servers a quarter of an hour in the lab (e2e,
// TestFailover) is tried here in seconds; what ZFS and PostgreSQL really do is not
// shown here.
package simulation
