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
// read again, upon which the wal receiver is started anew. It needs a superuser, or
// from PostgreSQL 15 on two grants; without them nothing is tried and the error, which
// is messages.ErrPermission, has them. A server out of recovery, and PostgreSQL 12,
// which reads the setting at its start only, are messages.ErrRefused.
//
// A password in conninfo comes into the server's log all the same: the postmaster
// itself notes each setting that a reload has changed. A passfile does not.
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
		if err := d.mayFollow(ctx, c); err != nil {
			return err
		}
		// ALTER SYSTEM takes no parameters.
		if err := quietly(ctx, c, "ALTER SYSTEM SET primary_conninfo = "+quoteLiteral(conninfo)); err != nil {
			return err
		}
		_, err = c.Exec(ctx, "SELECT pg_reload_conf()")
		return err
	})
}

// mayFollow asks before conninfo is told to anyone: a statement that is refused is
// logged, with all that is in it (log_min_error_statement).
func (d *Database) mayFollow(ctx context.Context, c *pgx.Conn) error {
	allowed, err := parameterRight(c, "'primary_conninfo'", "ALTER SYSTEM")
	if err != nil {
		return err
	}
	var alter, reload bool
	if err := c.QueryRow(ctx, "SELECT "+allowed+", has_function_privilege('pg_reload_conf()', 'EXECUTE')").Scan(&alter, &reload); err != nil {
		return err
	}
	var grants []string
	if !alter && allowed == superuser {
		grants = append(grants, "ALTER ROLE "+d.role()+" SUPERUSER")
	} else if !alter {
		grants = append(grants, "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo TO "+d.role())
	}
	if !reload {
		grants = append(grants, "GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO "+d.role())
	}
	if len(grants) > 0 {
		return fmt.Errorf("%w: role %s may not; on the primary, as a superuser: %s", messages.ErrPermission, d.role(), strings.Join(grants, "; "))
	}
	return nil
}

const superuser = "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"

// parameterRight is an expression: whether the role may do that to a parameter, which
// can be granted from PostgreSQL 15 on.
func parameterRight(c *pgx.Conn, parameter, right string) (string, error) {
	version, err := major(c.PgConn())
	if err != nil || version < 15 {
		return superuser, err
	}
	return "has_parameter_privilege(" + parameter + ", '" + right + "')", nil
}

// quietly runs a statement that holds a secret without it being logged, where the
// role may decide that. After an error the session is not used again.
func quietly(ctx context.Context, c *pgx.Conn, statement string) error {
	allowed, err := parameterRight(c, "s.name", "SET")
	if err != nil {
		return err
	}
	rows, err := c.Query(ctx, `SELECT s.name, set_config(s.name, s.value, false) FROM (VALUES
		('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_duration_sample', '-1'),
		('log_transaction_sample_rate', '0'), ('log_min_error_statement', 'panic')) s (name, value)
		JOIN pg_settings USING (name) WHERE `+allowed)
	if err != nil {
		return err
	}
	var names []string
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { names = append(names, name); return nil }); err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	for _, name := range names {
		if err == nil {
			_, err = c.Exec(ctx, "RESET "+name)
		}
	}
	return err
}

// quoteLiteral does not depend on standard_conforming_strings.
func quoteLiteral(s string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
