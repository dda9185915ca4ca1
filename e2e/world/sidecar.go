package world

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
)

// The kinds of sidecars; also the names of their commands and logs.
const (
	Primary   = "primary-sidecar"
	Secondary = "secondary-sidecar"
)

// Cluster is the name of the world's cluster.
const Cluster = "main"

// StartSidecar starts a sidecar with settings for a quick test; env is added to
// them or replaces them, an empty value removes one.
func (n *Node) StartSidecar(ctx context.Context, kind string, env map[string]string) (*Process, error) {
	return n.StartSidecarUnder(ctx, nil, kind, env)
}

// StartSidecarUnder is StartSidecar behind a command that takes something away from
// it and then becomes it, like setpriv.
func (n *Node) StartSidecarUnder(ctx context.Context, under []string, kind string, env map[string]string) (*Process, error) {
	return n.Start(ctx, kind, n.SidecarEnv(kind, env), append(slices.Clip(under), filepath.Join(n.world.o.Bin, kind))...)
}

// SidecarEnv is what StartSidecar gives to a sidecar.
func (n *Node) SidecarEnv(kind string, env map[string]string) map[string]string {
	all := n.sidecarEnv(kind)
	maps.Copy(all, env)
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	return all
}

func (n *Node) sidecarEnv(kind string) map[string]string {
	env := map[string]string{
		"PGRESYNC_CLUSTER": Cluster, "PGRESYNC_NODE": n.Name, "PGRESYNC_DATASET": n.Live(),
		"PGRESYNC_NATS_URL": n.world.BrokerURL(), "PGRESYNC_LOG_LEVEL": "debug",
		"PGRESYNC_UNSIGNED": "documents,triggers",
	}
	if kind == Primary {
		maps.Copy(env, map[string]string{
			"PGRESYNC_NATS_URL": "embedded", "PGRESYNC_NATS_LISTEN": n.Address() + ":4222",
			"PGRESYNC_NATS_USER": natsUser, "PGRESYNC_NATS_PASSWORD": natsPassword,
			"PGRESYNC_NATS_STORE_DIR": "/var/lib/pgresync/nats",
			"PGRESYNC_ADVERTISE_HOST": n.Address(),
			"PGRESYNC_LEASE_TTL":      "15s", "PGRESYNC_GATHER": "1s", "PGRESYNC_LINGER": "15s",
			"PGRESYNC_PART_SIZE": "2MiB", "PGRESYNC_WINDOW": "8MiB",
		})
		if n.world.o.Broker {
			env["PGRESYNC_NATS_URL"] = n.world.BrokerURL()
		}
		return env
	}
	maps.Copy(env, map[string]string{
		"PGRESYNC_PRIMARY_CONNINFO": "user=replicator",
		"PGRESYNC_PG_LOG_FILE":      n.ServerLog(),
		"PGRESYNC_CHECK_INTERVAL":   "3s", "PGRESYNC_DEBOUNCE": "3s",
		"PGRESYNC_CONVERGE_SHORT": "2m", "PGRESYNC_BACKOFF_MIN": "2s", "PGRESYNC_BACKOFF_MAX": "10s", "PGRESYNC_PROVE_TIMEOUT": "120s",
	})
	if n.world.o.Separate {
		maps.Copy(env, map[string]string{
			"PGRESYNC_SEPARATE_PRIVILEGES": "true", "PGRESYNC_DIAGNOSTICS_DIR": diagnostics,
			// Those of InitPrimary.
			"PGRESYNC_MOUNTPOINT": "/srv/pg", "PGRESYNC_MOUNTPOINTS": "wal=/srv/pgwal,ts1=/srv/ts1",
		})
	}
	return env
}

const diagnostics = "/var/lib/pgresync/diagnostics"

// prepareSeparation does what is root's to do before a sidecar gives privileges away.
func (n *Node) prepareSeparation(ctx context.Context) error {
	return n.runAll(ctx,
		[]string{"install", "-d", "-o", "postgres", "-g", "postgres", diagnostics},
		[]string{"chmod", "666", "/dev/zfs"}, // as udev has it
	)
}

// OtherMounts are settings for a standby that has its datasets at other paths than
// the primary.
func OtherMounts() map[string]string {
	return map[string]string{
		"PGRESYNC_MOUNTPOINT":  "/data/pg",
		"PGRESYNC_MOUNTPOINTS": "wal=/data/wal,ts1=/data/ts1",
	}
}
