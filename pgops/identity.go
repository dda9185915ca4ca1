package pgops

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// Identity says who the server is: system identifier, version, role, timeline
// with its history, and position. It needs the REPLICATION attribute, not a
// superuser. The error wraps messages.ErrUnavailable when the server does not
// answer (down, starting, or changing its role this moment) and
// messages.ErrPermission when it does not let us in.
//
// The timeline is IDENTIFY_SYSTEM's: on a primary the one it writes, on a standby
// the one it replays. pg_control_checkpoint() would name the timeline of the last
// restartpoint, which lags behind a switch by up to checkpoint_timeout and says 1
// long after a promotion (walsender.c, GetStandbyFlushRecPtr).
func (d *Database) Identity(ctx context.Context) (messages.Identity, error) {
	started, id, ok := d.samePrimary(ctx)
	if ok {
		return id, nil
	}
	err := d.replicating(ctx, "identify PostgreSQL", func(ctx context.Context, s session) (err error) {
		id, err = s.identity(ctx)
		return err
	})
	if err != nil {
		return messages.Identity{}, err
	}
	if !started.IsZero() {
		d.known.learn(started, id)
	}
	return id, nil
}

// samePrimary answers from what is known if one SQL statement shows that the server
// is still the primary it was. Otherwise, and on any error, the walsender is asked,
// which reports errors better.
func (d *Database) samePrimary(ctx context.Context) (started time.Time, id messages.Identity, ok bool) {
	var file, lsn *string
	err := d.with(ctx, "identify PostgreSQL", "", func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT pg_postmaster_start_time(),
			CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END,
			CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END`).Scan(&started, &file, &lsn)
	})
	if err != nil || file == nil || lsn == nil || len(*file) != 24 {
		return started, id, false
	}
	timeline, err := strconv.ParseUint((*file)[:8], 16, 32)
	if err != nil {
		return started, id, false
	}
	at, err := messages.ParseLSN(*lsn)
	if err != nil {
		return started, id, false
	}
	id, ok = d.known.primary(started, messages.Timeline(timeline), at)
	return started, id, ok
}

func (s session) identity(ctx context.Context) (id messages.Identity, err error) {
	before, err := s.state(ctx)
	if err != nil {
		return id, err
	}
	system, err := s.row(ctx, "IDENTIFY_SYSTEM", 2)
	if err != nil {
		return id, err
	}
	if id.SystemID, err = messages.ParseSystemID(system[0]); err != nil {
		return id, err
	}
	timeline, err := parseTimeline(system[1])
	if err != nil {
		return id, err
	}
	if id.Timeline, err = s.history(ctx, timeline); err != nil {
		return id, err
	}
	after, err := s.state(ctx)
	if err != nil {
		return id, err
	}
	if before.role != after.role {
		return id, fmt.Errorf("%w: it is being promoted; ask again", messages.ErrUnavailable)
	}
	id.Version, id.Role, id.LSN = after.version, after.role, after.lsn
	return id, nil
}

type serverState struct {
	role    messages.Role
	version messages.PGVersion
	lsn     messages.LSN
}

// state asks what IDENTIFY_SYSTEM does not tell.
func (s session) state(ctx context.Context) (st serverState, err error) {
	row, err := s.row(ctx, `SELECT pg_is_in_recovery(), current_setting('server_version_num'),
		CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_lsn() END`, 3)
	if err != nil {
		return st, err
	}
	st.role = messages.RolePrimary
	if row[0] == "t" {
		st.role = messages.RoleStandby
	}
	version, err := strconv.Atoi(row[1])
	if err != nil {
		return st, fmt.Errorf("server_version_num %q: want a number", row[1])
	}
	st.version = messages.PGVersion(version)
	st.lsn, err = messages.ParseLSN(row[2])
	return st, err
}

func parseTimeline(s string) (messages.Timeline, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("timeline %q: want a positive decimal number", clip(s))
	}
	return messages.Timeline(v), nil
}

// clip bounds what a hostile or damaged input can put into an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
