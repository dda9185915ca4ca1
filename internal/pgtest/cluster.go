package pgtest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/command"
)

// Superuser is the name of every cluster's superuser, who needs no password.
const Superuser = "postgres"

// Cluster is one server with its data directory.
type Cluster struct {
	BinDir string
	// Dir is the temporary directory that holds everything; DataDir, SocketDir and
	// LogFile are in it.
	Dir, DataDir, SocketDir, LogFile string
	Port                             int
}

// Options change a cluster from the defaults.
type Options struct {
	// Settings are added to postgresql.conf.
	Settings map[string]string
	// InitDB are further arguments of initdb.
	InitDB []string
	// HBA, when set, replaces pg_hba.conf; the superuser keeps the socket.
	HBA string
}

// New makes a cluster and starts it. Its WAL segments have 1 MiB, so that much of
// it can be made in little time.
func New(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	c := blank(tb)
	args := append([]string{"-D", c.DataDir, "-U", Superuser, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--wal-segsize=1"}, o.InitDB...)
	Run(tb.Context(), tb, filepath.Join(c.BinDir, "initdb"), args...)
	c.configure(tb, o)
	c.startFirst(tb)
	return c
}

// blank is a cluster without data.
func blank(tb testing.TB) *Cluster {
	tb.Helper()
	bin, dir := BinDir(tb), TempDir(tb)
	return &Cluster{
		BinDir: bin, Dir: dir, DataDir: filepath.Join(dir, "data"), SocketDir: dir, LogFile: filepath.Join(dir, "server.log"),
	}
}

func (c *Cluster) configure(tb testing.TB, o Options) {
	tb.Helper()
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": c.SocketDir,
		// A commit still waits for its WAL to be written, on which AwaitReplay relies.
		"fsync": "off", "shared_buffers": "16MB", "max_connections": "20",
		"wal_level": "replica", "max_wal_senders": "8", "max_replication_slots": "8", "hot_standby": "on",
		"min_wal_size": "2MB", "wal_retrieve_retry_interval": "100ms", "autovacuum": "off", "lc_messages": "C",
	}
	maps.Copy(settings, o.Settings)
	var b strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	c.Append(tb, "postgresql.conf", b.String())
	if o.HBA != "" {
		hba := "local all " + Superuser + " trust\nlocal replication " + Superuser + " trust\n" + o.HBA
		c.Write(tb, "pg_hba.conf", hba)
	}
}

// Write replaces a file of the data directory, owned by User.
func (c *Cluster) Write(tb testing.TB, name, content string) {
	tb.Helper()
	path := filepath.Join(c.DataDir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	uid, gid := Owner(tb)
	if err := os.Chown(path, uid, gid); err != nil {
		tb.Fatal(err)
	}
}

// Append adds to a file of the data directory.
func (c *Cluster) Append(tb testing.TB, name, content string) {
	tb.Helper()
	old, err := os.ReadFile(filepath.Join(c.DataDir, name))
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	c.Write(tb, name, string(old)+content)
}

// startFirst finds a free port and starts. A port that was free a moment ago may
// be taken by now, so that it takes another then.
func (c *Cluster) startFirst(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() { c.stopQuietly(tb) })
	var err error
	for range 5 {
		c.Port = FreePort(tb)
		c.Append(tb, "postgresql.conf", "port = "+strconv.Itoa(c.Port)+"\n")
		if err = c.TryStart(tb.Context(), tb); err == nil || !strings.Contains(c.Log(tb), "could not bind") {
			break
		}
	}
	if err != nil {
		tb.Fatalf("%v\n%s", err, c.Log(tb))
	}
}

// FreePort finds a loopback port that nobody listens on now.
func FreePort(tb testing.TB) int {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		tb.Fatalf("address %v: want TCP", l.Addr())
	}
	return addr.Port
}

// Start starts the server and waits until it accepts connections.
func (c *Cluster) Start(tb testing.TB) {
	tb.Helper()
	if err := c.TryStart(tb.Context(), tb); err != nil {
		tb.Fatalf("%v\n%s", err, c.Log(tb))
	}
}

// TryStart is Start for servers that may not come up.
func (c *Cluster) TryStart(ctx context.Context, tb testing.TB) error {
	tb.Helper()
	return c.ctl(ctx, tb, "start", "-w", "-t", "60", "-l", c.LogFile)
}

// Stop stops the server: mode is fast or immediate.
func (c *Cluster) Stop(tb testing.TB, mode string) {
	tb.Helper()
	if err := c.ctl(tb.Context(), tb, "stop", "-w", "-t", "60", "-m", mode); err != nil {
		tb.Fatal(err)
	}
}

// Promote ends a standby's recovery.
func (c *Cluster) Promote(tb testing.TB) {
	tb.Helper()
	if err := c.ctl(tb.Context(), tb, "promote", "-w", "-t", "60"); err != nil {
		tb.Fatal(err)
	}
}

func (c *Cluster) ctl(ctx context.Context, tb testing.TB, verb string, args ...string) error {
	tb.Helper()
	return command.Command{
		Path: filepath.Join(c.BinDir, "pg_ctl"), Args: append([]string{verb, "-s", "-D", c.DataDir}, args...),
		Dir: "/", Credential: Credential(tb),
	}.Run(ctx)
}

// stopQuietly ends what runs, if anything does. The test's context is over by
// then.
func (c *Cluster) stopQuietly(tb testing.TB) {
	tb.Helper()
	if _, err := os.Stat(filepath.Join(c.DataDir, "postmaster.pid")); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = c.ctl(ctx, tb, "stop", "-w", "-t", "20", "-m", "immediate") // it may have stopped
}

// Log is all that the server has written.
func (c *Cluster) Log(tb testing.TB) string {
	tb.Helper()
	b, err := os.ReadFile(c.LogFile)
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	return string(b)
}
