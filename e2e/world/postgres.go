package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The primary's paths and datasets: the data directory, its WAL and one tablespace
// lie in three datasets.
const (
	DataDir       = "/srv/pg/17"
	walDir        = "/srv/pgwal/wal"
	tablespaceDir = "/srv/ts1/space"
)

// Live is the node's live dataset.
func (n *Node) Live() string { return n.Pool() + "/pg" }

// settings make WAL scarce and failures quick; the rest is for several servers on
// one small machine, on which reading all rows of a standby may take longer than replay
// would wait.
const settings = `
listen_addresses = '*'
unix_socket_directories = '/run/postgresql'
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_connections = 40
min_wal_size = 64MB
max_wal_size = 128MB
wal_keep_size = 0
max_slot_wal_keep_size = 512MB
wal_recycle = off
hot_standby = on
max_standby_streaming_delay = -1
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 1s
wal_receiver_timeout = 10s
wal_sender_timeout = 10s
shared_buffers = 64MB
jit = off
log_line_prefix = '%m [%p] %q%a '
`

const access = `
local all all trust
host all all 10.77.0.0/24 trust
host replication replicator 10.77.0.0/24 trust
local replication all trust
`

// InitPrimary makes a cluster with the datasets above and starts it.
func (n *Node) InitPrimary(ctx context.Context) error { return n.initPrimary(ctx, "-X", walDir) }

// InitPrimaryWithWALInside makes one whose WAL lies in the data directory.
func (n *Node) InitPrimaryWithWALInside(ctx context.Context) error { return n.initPrimary(ctx) }

func (n *Node) initPrimary(ctx context.Context, initdb ...string) error {
	if err := n.createDatasets(ctx, len(initdb) > 0); err != nil {
		return fmt.Errorf("primary %s: %w", n.Name, err)
	}
	if err := n.InitCluster(ctx, initdb...); err != nil {
		return fmt.Errorf("primary %s: %w", n.Name, err)
	}
	if err := n.StartServer(ctx); err != nil {
		return fmt.Errorf("primary %s: %w", n.Name, err)
	}
	for _, q := range []string{
		"create role replicator login replication",
		"create tablespace ts1 location '" + tablespaceDir + "'",
	} {
		if _, err := n.SQL(ctx, q); err != nil {
			return fmt.Errorf("primary %s: %w", n.Name, err)
		}
	}
	return nil
}

// KeyFile has the key of an encrypted primary, on that node only.
const KeyFile = "/run/pgresync/key"

func (n *Node) createDatasets(ctx context.Context, wal bool) error {
	create := func(dataset, mountpoint string, more ...string) []string {
		argv := append([]string{"zfs", "create", "-o", "mountpoint=" + mountpoint, "-o", "compression=lz4"}, more...)
		return append(argv, dataset)
	}
	own := func(dirs ...string) []string {
		return append([]string{"install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700"}, dirs...)
	}
	top := []string{"-o", "recordsize=16K"}
	if n.world.o.Encrypted {
		if _, err := n.Run(ctx, "dd", "if=/dev/urandom", "of="+KeyFile, "bs=32", "count=1"); err != nil {
			return err
		}
		top = append(top, "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+KeyFile)
	}
	steps := [][]string{
		create(n.Live(), "/srv/pg", top...),
		create(n.Live()+"/ts1", "/srv/ts1"),
		own(DataDir, tablespaceDir),
	}
	if wal {
		steps = append(steps, create(n.Live()+"/wal", "/srv/pgwal"), own(walDir))
	}
	return n.runAll(ctx, steps...)
}

// InitCluster runs initdb for DataDir and writes the configuration.
func (n *Node) InitCluster(ctx context.Context, more ...string) error {
	argv := append([]string{
		"initdb", "-D", DataDir, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync", "--no-instructions",
	}, more...)
	if _, err := n.Run(ctx, AsPostgres(argv...)...); err != nil {
		return err
	}
	// The files are only visible inside the node.
	inside := filepath.Join(fmt.Sprintf("/proc/%d/root", n.holder.PID()), DataDir)
	if err := appendFile(filepath.Join(inside, "postgresql.conf"), settings); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(inside, "pg_hba.conf"), []byte(access), 0o600)
}

// Restrict lets each operating system user be no other role than his own, root
// excepted, who is the test.
func (n *Node) Restrict(ctx context.Context) error {
	inside := filepath.Join(fmt.Sprintf("/proc/%d/root", n.holder.PID()), DataDir)
	for name, text := range map[string]string{
		"pg_hba.conf":   "local all postgres peer map=lab\nhost replication replicator 10.77.0.0/24 trust\n",
		"pg_ident.conf": "lab root postgres\nlab postgres postgres\n",
	} {
		if err := os.WriteFile(filepath.Join(inside, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err := n.SQL(ctx, "select pg_reload_conf()")
	return err
}

// StartServer starts PostgreSQL in DataDir by hand.
func (n *Node) StartServer(ctx context.Context) error {
	_, err := n.Run(ctx, AsPostgres(n.startServer()...)...)
	return err
}

// StopServer stops it.
func (n *Node) StopServer(ctx context.Context) error {
	_, err := n.Run(ctx, AsPostgres("pg_ctl", "stop", "-w", "-m", "fast", "-D", DataDir)...)
	return err
}

// ServerLog is PostgreSQL's own log.
func (n *Node) ServerLog() string { return filepath.Join(n.Out(), "postgresql.log") }

// RecycleWAL moves the log of a primary on until the segment of before is gone from
// it, as a busy day would.
func (n *Node) RecycleWAL(ctx context.Context, before string) error {
	return Until(ctx, "the WAL at "+before+" to be gone from "+n.Name, patience, func(ctx context.Context) (bool, string) {
		_, err := n.SQL(ctx, "select pg_switch_wal()")
		if err == nil {
			_, err = n.SQL(ctx, "checkpoint")
		}
		if err != nil {
			return false, err.Error()
		}
		oldest, err := n.SQL(ctx, "select min(name) > pg_walfile_name('"+before+"'), min(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'")
		if err != nil {
			return false, err.Error()
		}
		return strings.HasPrefix(oldest, "t"), oldest
	})
}

// LoseSlot drops every slot of a standby on the primary n, whether it is in use or
// not, and moves the log on past what the standby has.
func (n *Node) LoseSlot(ctx context.Context, standby *Node) error {
	at, err := n.SQL(ctx, "select pg_current_wal_lsn()")
	if err != nil {
		return err
	}
	err = Until(ctx, "the slots of "+standby.Name+" to be dropped", patience, func(ctx context.Context) (bool, string) {
		// A slot in use cannot be dropped, and its reader comes back by itself.
		_, err := n.SQL(ctx, `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name like 'pgresync_`+standby.Name+`_%' and active;
			select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'pgresync_`+standby.Name+`_%' and not active`)
		left, lerr := n.SQL(ctx, "select slot_name, active from pg_replication_slots where slot_name like 'pgresync_"+standby.Name+"_%'")
		return lerr == nil && left == "", fmt.Sprint(left, err, lerr)
	})
	if err != nil {
		return err
	}
	return n.RecycleWAL(ctx, at)
}
