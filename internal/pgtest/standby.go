package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Standby makes a standby by pg_basebackup, starts it, and returns when it streams.
// It uses no slot unless Settings name one.
func (c *Cluster) Standby(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	s := blank(tb)
	Run(tb.Context(), tb, filepath.Join(c.BinDir, "pg_basebackup"), "-D", s.DataDir, "-d", c.Conninfo(Superuser),
		"-X", "stream", "-c", "fast", "--no-sync", "-R")
	s.configure(tb, o)
	s.startFirst(tb)
	// A base backup is consistent by itself: that it replayed everything does not mean
	// that it is connected.
	Eventually(tb, "the standby streams", func() bool {
		return s.Text(tb, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1"
	})
	return s
}

// Adopt is a cluster on a data directory that is there already, such as a copy of
// another's. Nothing is started. Its log and socket are in a directory of its own.
func Adopt(tb testing.TB, dataDir string) *Cluster {
	tb.Helper()
	c := blank(tb)
	c.DataDir = dataDir
	tb.Cleanup(func() { c.stopQuietly(tb) })
	return c
}

// Relocate gives an adopted data directory a port and socket of its own.
func (c *Cluster) Relocate(tb testing.TB) {
	tb.Helper()
	c.Port = FreePort(tb)
	c.Append(tb, "postgresql.conf", fmt.Sprintf("unix_socket_directories = '%s'\nport = %d\n", c.SocketDir, c.Port))
}

// Conninfo connects role to database postgres over the socket.
func (c *Cluster) Conninfo(role string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", c.SocketDir, c.Port, role)
}

// TCPConninfo is Conninfo over the loopback interface.
func (c *Cluster) TCPConninfo(role string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", c.Port, role)
}

// MkdirAll makes a directory that belongs to User.
func MkdirAll(tb testing.TB, path string) string {
	tb.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		tb.Fatal(err)
	}
	uid, gid := Owner(tb)
	if err := os.Chown(path, uid, gid); err != nil {
		tb.Fatal(err)
	}
	return path
}
