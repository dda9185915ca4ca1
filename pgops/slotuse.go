package pgops

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// SlotUses is Slots with what each slot holds back, and since when nobody used it.
func (d *Database) SlotUses(ctx context.Context) ([]messages.SlotUse, error) {
	var out []messages.SlotUse
	err := d.with(ctx, "list slots", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) error {
		list, err := slots(ctx, c, "")
		if err != nil {
			return err
		}
		out = make([]messages.SlotUse, len(list))
		for i, s := range list {
			out[i].SlotState = s
			if err := use(ctx, c, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// use leaves a slot that went meanwhile as it is.
func use(ctx context.Context, c *pgx.Conn, s *messages.SlotUse) error {
	version, err := major(c.PgConn())
	if err != nil {
		return err
	}
	// The server has a word on it since 17, and begins it anew when it starts.
	inactive := "NULL::timestamptz"
	if version >= 17 {
		inactive = "inactive_since"
	}
	var since *time.Time
	err = c.QueryRow(ctx, "SELECT xmin IS NOT NULL OR catalog_xmin IS NOT NULL, "+inactive+
		" FROM pg_replication_slots WHERE slot_name = $1::name", s.Name).Scan(&s.HoldsXmin, &since)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if since != nil {
		s.InactiveSince = *since
	}
	return err
}

// SlotsUnbounded reports whether a slot may retain WAL without limit, until the
// disk is full: max_slot_wal_keep_size is -1, its default.
func (d *Database) SlotsUnbounded(ctx context.Context) (bool, error) {
	unbounded := true // before PostgreSQL 13 there is no limit
	err := d.with(ctx, "read max_slot_wal_keep_size", "", func(ctx context.Context, c *pgx.Conn) error {
		err := c.QueryRow(ctx, "SELECT setting = '-1' FROM pg_settings WHERE name = 'max_slot_wal_keep_size'").Scan(&unbounded)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return unbounded, err
}
