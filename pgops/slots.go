package pgops

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// ownSlot is the names that are ours to make and drop (I-2), within PostgreSQL's
// own rules for slot names.
var ownSlot = regexp.MustCompile(`^pgresync_[a-z0-9_]{1,54}$`)

func checkSlotName(name string) error {
	if !ownSlot.MatchString(name) {
		return fmt.Errorf("slot %q: %w: its name does not begin with pgresync_ followed by 1 to 54 of [a-z0-9_]", clip(name), messages.ErrNotOurs)
	}
	return nil
}

// Slots lists our physical slots, by name. Anyone may ask.
func (d *Database) Slots(ctx context.Context) ([]messages.SlotState, error) {
	var out []messages.SlotState
	err := d.with(ctx, "list slots", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) (err error) {
		out, err = slots(ctx, c, "")
		return err
	})
	return out, err
}

// ReserveSlot makes the slot, or moves it on, so that WAL is kept from now on: the
// redo position of the last checkpoint. It needs REPLICATION. A slot that a
// standby uses this moment is messages.ErrBusy and stays as it is; a name that is
// not ours is ErrNotOurs.
func (d *Database) ReserveSlot(ctx context.Context, name string) (messages.SlotState, error) {
	if err := checkSlotName(name); err != nil {
		return messages.SlotState{}, err
	}
	var out messages.SlotState
	err := d.with(ctx, "reserve slot "+name, d.grantReplication(), func(ctx context.Context, c *pgx.Conn) error {
		// Dropping takes hot_standby_feedback's xmin along, and works for a lost slot,
		// which pg_replication_slot_advance does not.
		if err := drop(ctx, c, name); err != nil && !errors.Is(err, messages.ErrNotFound) {
			return err
		}
		if _, err := c.Exec(ctx, "SELECT pg_create_physical_replication_slot($1::name, true)", name); err != nil {
			return err
		}
		found, err := slots(ctx, c, name)
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%w: someone dropped it at once", messages.ErrNotFound)
		}
		out = found[0]
		return nil
	})
	if err != nil {
		return messages.SlotState{}, err
	}
	return out, nil
}

// DropSlot drops a slot of ours; one that is not there is no error, one in use is
// messages.ErrBusy. It needs REPLICATION.
func (d *Database) DropSlot(ctx context.Context, name string) error {
	if err := checkSlotName(name); err != nil {
		return err
	}
	return d.with(ctx, "drop slot "+name, d.grantReplication(), func(ctx context.Context, c *pgx.Conn) error {
		if err := drop(ctx, c, name); !errors.Is(err, messages.ErrNotFound) {
			return err
		}
		return nil
	})
}

func (d *Database) grantReplication() string { return "ALTER ROLE " + d.role() + " REPLICATION" }

// drop wraps messages.ErrNotFound when there is no such slot.
func drop(ctx context.Context, c *pgx.Conn, name string) error {
	var physical, active bool
	err := c.QueryRow(ctx, "SELECT slot_type = 'physical', active FROM pg_replication_slots WHERE slot_name = $1::name", name).Scan(&physical, &active)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return messages.ErrNotFound
	case err != nil:
		return err
	case !physical:
		return fmt.Errorf("%w: it is a logical slot", messages.ErrNotOurs)
	case active:
		return fmt.Errorf("%w: a standby streams through it", messages.ErrBusy)
	}
	_, err = c.Exec(ctx, "SELECT pg_drop_replication_slot($1::name)", name)
	if hasState(err, stateUndefinedObject) {
		return messages.ErrNotFound
	}
	return err
}

// slots reads one slot of ours, or all of them for "".
func slots(ctx context.Context, c *pgx.Conn, name string) ([]messages.SlotState, error) {
	version, err := major(c.PgConn())
	if err != nil {
		return nil, err
	}
	// Up to 12 nothing but a drop takes WAL away from a slot.
	status := "CASE WHEN restart_lsn IS NOT NULL THEN 'reserved' ELSE '' END"
	if version >= 13 {
		status = "coalesce(wal_status, '')"
	}
	rows, err := c.Query(ctx, `SELECT slot_name::text, coalesce(restart_lsn, '0/0')::text, active, `+status+`
		FROM pg_replication_slots
		WHERE slot_type = 'physical' AND starts_with(slot_name::text, 'pgresync_') AND ($1::text = '' OR slot_name::text = $1)
		ORDER BY slot_name`, name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s messages.SlotState, err error) {
		var lsn, wal string
		if err := row.Scan(&s.Name, &lsn, &s.Active, &wal); err != nil {
			return s, err
		}
		s.WALStatus = messages.WALStatus(wal)
		s.RestartLSN, err = messages.ParseLSN(lsn)
		return s, err
	})
}
