// Package faults strikes at every row and every phase of the standby's state
// machine, in a world with real OpenZFS, PostgreSQL and NATS, and looks whether the
// standby comes back without a human. The cases are generated from the machine's
// own table: a row that is added there is struck at, or a test says that nobody
// knows the way to it.
//
// A case is its name and its seed: both together always strike at the same place.
package faults
