// Package plan decides; it does nothing. Facts go in as values and a plan comes
// out: whether a standby must be copied again (Diagnose), what has to move for it
// (Pass), whether another pass pays (Next), whether the new copy is proven to
// stream (Proven), and which snapshots may go (Retain). No function here reads a
// file, a socket, a clock or a random number, so that every decision can be
// repeated from a log line and tested by the thousand.
//
// All functions are safe for concurrent use; none changes its arguments.
package plan
