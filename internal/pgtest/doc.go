// Package pgtest runs real PostgreSQL clusters from the local binaries for tests:
// made by initdb in a directory of their own, on a free loopback port and a socket
// of their own, without fsync, and gone when the test ends. As root they run as
// the user postgres, since PostgreSQL refuses root.
//
// A test that asks for a cluster is skipped where there are no binaries, and
// fails there when PGRESYNC_TEST_MUST_RUN is 1.
package pgtest
