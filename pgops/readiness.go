package pgops

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// Readiness is what of a server's settings and use decides whether it can be
// replicated from, or to.
type Readiness struct {
	Version    messages.PGVersion
	InRecovery bool
	WALLevel   string
	HotStandby bool
	// MaxSenders and MaxSlots are settings, Senders and Slots what is in use.
	MaxSenders, Senders int
	MaxSlots, Slots     int
	// MaxSlotKeepMB is max_slot_wal_keep_size in MB; -1 is no limit. Before 13 there
	// is none either.
	MaxSlotKeepMB int
	// DataDir and ConfigFile are the server's, "" for a role that may not read them.
	DataDir, ConfigFile string
}

// Readiness reads the settings.
func (d *Database) Readiness(ctx context.Context) (Readiness, error) {
	r := Readiness{MaxSlotKeepMB: -1}
	err := d.with(ctx, "read settings", "", func(ctx context.Context, c *pgx.Conn) error {
		err := c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('wal_level'), current_setting('hot_standby')::bool,
				current_setting('max_wal_senders')::int, current_setting('max_replication_slots')::int,
				(SELECT count(*)::int FROM pg_stat_replication),
				(SELECT count(*)::int FROM pg_replication_slots),
				coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), ''),
				coalesce((SELECT setting FROM pg_settings WHERE name = 'config_file'), '')`).
			Scan(&r.Version, &r.InRecovery, &r.WALLevel, &r.HotStandby, &r.MaxSenders, &r.MaxSlots, &r.Senders, &r.Slots, &r.DataDir, &r.ConfigFile)
		if err != nil {
			return err
		}
		rows, err := c.Query(ctx, "SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(&r.MaxSlotKeepMB); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return r, err
}
