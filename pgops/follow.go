package pgops

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// Upstream is primary_conninfo as it is in force. It needs pg_monitor.
func (d *Database) Upstream(ctx context.Context) (string, error) {
	var conninfo string
	err := d.with(ctx, "read primary_conninfo", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT current_setting('primary_conninfo')").Scan(&conninfo)
	})
	return conninfo, err
}

// Follow makes a running standby stream from elsewhere, without a restart:
// primary_conninfo is written to postgresql.auto.conf and the configuration is
// read again, upon which the wal receiver is started anew. It needs a superuser. A
// server out of recovery, and PostgreSQL 12, which reads the setting at its start
// only, are messages.ErrRefused.
func (d *Database) Follow(ctx context.Context, conninfo string) error {
	return d.with(ctx, "point the standby at another primary", "", func(ctx context.Context, c *pgx.Conn) error {
		var recovering, reloads bool
		err := c.QueryRow(ctx, `SELECT pg_is_in_recovery(),
			EXISTS (SELECT FROM pg_settings WHERE name = 'primary_conninfo' AND context = 'sighup')`).Scan(&recovering, &reloads)
		switch {
		case err != nil:
			return err
		case !recovering:
			return fmt.Errorf("%w: it is out of recovery", messages.ErrRefused)
		case !reloads:
			return fmt.Errorf("%w: this version reads primary_conninfo at its start only; restart PostgreSQL with host and port of the new primary", messages.ErrRefused)
		}
		// ALTER SYSTEM takes no parameters.
		if _, err := c.Exec(ctx, "ALTER SYSTEM SET primary_conninfo = "+quoteLiteral(conninfo)); err != nil {
			return err
		}
		_, err = c.Exec(ctx, "SELECT pg_reload_conf()")
		return err
	})
}

// quoteLiteral does not depend on standard_conforming_strings.
func quoteLiteral(s string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
