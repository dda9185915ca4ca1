package pgops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// errHidden is what a row without its details means: the views show those to
// members of pg_monitor only, and otherwise pretend that they are NULL.
func (d *Database) errHidden(view string) error {
	return fmt.Errorf("%w: %s hides its columns (%s)", messages.ErrPermission, view, d.grantMonitor())
}

// Senders lists the standbys that stream from this server, each with the slot it
// uses. It needs pg_monitor. Walsenders that only ask questions, like ours, are
// left out.
func (d *Database) Senders(ctx context.Context) ([]messages.Sender, error) {
	var out []messages.Sender
	err := d.with(ctx, "list standbys", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT r.application_name, coalesce(s.slot_name::text, ''), coalesce(r.state, ''), coalesce(r.replay_lsn, '0/0')::text
			FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
			WHERE r.state IS DISTINCT FROM 'startup' ORDER BY 1, 2`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s messages.Sender, err error) {
			var lsn string
			var name *string
			if err := row.Scan(&name, &s.SlotName, &s.State, &lsn); err != nil {
				return s, err
			}
			if name == nil || s.State == "" {
				return s, d.errHidden("pg_stat_replication")
			}
			s.ApplicationName = *name
			s.ReplayLSN, err = messages.ParseLSN(lsn)
			return s, err
		})
		return err
	})
	return out, err
}

// Receiver reports a standby's replication; on a primary all but InRecovery and
// Timeline is zero. It needs pg_monitor while a wal receiver runs.
//
// Timeline is the running receiver's. Without one it is the last restartpoint's,
// which lags behind a switch; Identity is the place to ask for the timeline.
func (d *Database) Receiver(ctx context.Context) (messages.Receiver, error) {
	var r messages.Receiver
	err := d.with(ctx, "read the replication state", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) (err error) {
		r, err = d.receiver(ctx, c)
		return err
	})
	if err != nil {
		return messages.Receiver{}, err
	}
	return r, nil
}

// PostgreSQL calls a wal receiver "streaming" from its start, also while one that
// will fail (its slot or its WAL is gone) connects anew every few seconds
// (walreceiver.c; measured with PostgreSQL 15). It is believed once a message came: until
// then both times of the last one are that of its start. A caught-up receiver of an
// idle primary may not get one for long; what failed does not last two seconds.
const receiverSQL = `SELECT pg_is_in_recovery(),
	CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END,
	w.pid IS NOT NULL, w.status,
	coalesce(w.last_msg_send_time IS DISTINCT FROM w.last_msg_receipt_time OR clock_timestamp() - a.backend_start > interval '2 s', false),
	coalesce(w.sender_host, ''), coalesce(w.sender_port, 0), coalesce(w.slot_name, ''),
	coalesce(w.received_tli, (SELECT timeline_id FROM pg_control_checkpoint()))::int8,
	coalesce(pg_last_wal_receive_lsn(), '0/0')::text, coalesce(pg_last_wal_replay_lsn(), '0/0')::text,
	(SELECT setting::int8 FROM pg_settings WHERE name = 'recovery_min_apply_delay')
	FROM (SELECT 1) one LEFT JOIN pg_stat_wal_receiver w ON true LEFT JOIN pg_stat_activity a ON a.pid = w.pid`

func (d *Database) receiver(ctx context.Context, c *pgx.Conn) (r messages.Receiver, err error) {
	var running, lasts bool
	var status *string
	var timeline, delay int64
	var received, replayed string
	if err := c.QueryRow(ctx, receiverSQL).Scan(&r.InRecovery, &r.Paused, &running, &status, &lasts, &r.SenderHost,
		&r.SenderPort, &r.SlotName, &timeline, &received, &replayed, &delay); err != nil {
		return r, err
	}
	if running && status == nil {
		return r, d.errHidden("pg_stat_wal_receiver")
	}
	r.Streaming = running && *status == "streaming" && lasts
	r.Timeline, r.Delay = messages.Timeline(timeline), time.Duration(delay)*time.Millisecond
	if r.ReceiveLSN, err = messages.ParseLSN(received); err != nil {
		return r, err
	}
	// A primary remembers how far it replayed before it was promoted.
	if !r.InRecovery {
		r.ReceiveLSN = 0
		return r, nil
	}
	r.ReplayLSN, err = messages.ParseLSN(replayed)
	return r, err
}

// StandbySettings are the parameters that a standby must not have lower than its
// primary (PostgreSQL 15, hot-standby 27.4.3), by name. Anyone may ask.
func (d *Database) StandbySettings(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	err := d.with(ctx, "read settings", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT name, setting::int8 FROM pg_settings WHERE name IN
			('max_connections', 'max_prepared_transactions', 'max_locks_per_transaction', 'max_wal_senders', 'max_worker_processes')`)
		if err != nil {
			return err
		}
		var name string
		var value int64
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
			out[name] = int(value)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
