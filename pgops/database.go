package pgops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	defaultConnectTimeout = 5 * time.Second
	// statementTimeout bounds every statement but the bracket's, callTimeout every
	// call with connecting included, so that a server that hangs is noticed.
	statementTimeout = 15 * time.Second
	callTimeout      = 30 * time.Second
	// defaultBackupTimeout bounds the whole window of a bracket.
	defaultBackupTimeout = 2 * time.Minute
)

// Database asks one PostgreSQL server over SQL and the replication protocol. One
// SQL connection is kept between calls, because forking a backend costs the server
// far more than the questions do; a bracket and a walsender get connections of
// their own. All methods are safe for concurrent use.
type Database struct {
	config        *pgx.ConnConfig
	backupTimeout time.Duration
	idle          idle
	known         known
}

// Option changes a Database from its defaults.
type Option func(*Database) error

// WithBackupTimeout bounds the time from the beginning of a bracket to the end of
// what runs inside it; two minutes unless given.
func WithBackupTimeout(d time.Duration) Option {
	return func(db *Database) error {
		if d <= 0 {
			return fmt.Errorf("backup timeout %s: want a positive duration", d)
		}
		db.backupTimeout = d
		return nil
	}
}

// NewDatabase checks a connection string in libpq's keyword form or as a URI; it
// does not connect. The connection must be direct: a pooler in transaction mode
// would tear the bracket apart. The error never shows the string, which may hold
// a password.
func NewDatabase(conninfo string, opts ...Option) (*Database, error) {
	config, err := pgx.ParseConfig(conninfo)
	if err != nil {
		// Neither the error's text nor its cause is passed on: both may quote pieces of a
		// password (pgconn documents its redaction as best effort).
		return nil, errors.New("connection string: not in libpq's keyword=value or URI form, or a value in it is not valid " +
			"(it is not shown, because it may hold a password)")
	}
	db := &Database{config: config, backupTimeout: defaultBackupTimeout}
	for _, opt := range opts {
		if err := opt(db); err != nil {
			return nil, err
		}
	}
	harden(config)
	config.DialFunc = pgconn.DialFunc(asRole(config.User, config.Host, dialFunc(config.DialFunc)))
	return db, nil
}

// harden adds what every session of ours should have.
func harden(c *pgx.ConnConfig) {
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	dialer := &net.Dialer{
		Timeout:         c.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	c.DialFunc = dialer.DialContext
	// libpq's client side parameters; pgx would send them to the server as settings.
	for _, key := range []string{
		"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
		"gssencmode", "fallback_application_name", "sslcompression", "replication",
	} {
		delete(c.RuntimeParams, key)
	}
	params := map[string]string{
		// The server's own bytes, unconverted: the label and the tablespace map must reach
		// the copy byte for byte (PostgreSQL 15, continuous-archiving 26.3.3).
		"client_encoding": "SQL_ASCII",
		// No function of a user's schema can stand in for a system one.
		"search_path":       "pg_catalog",
		"statement_timeout": millis(statementTimeout),
		// The server notices a client that vanished, and with it ends backup mode.
		"tcp_keepalives_idle":     "10",
		"tcp_keepalives_interval": "5",
		"tcp_keepalives_count":    "3",
	}
	maps.Copy(c.RuntimeParams, params)
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "pgresync"
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }

// with runs f on a connection that nobody else uses meanwhile. what is the
// operation for the error, remedy what gives the role a right that it lacks.
func (d *Database) with(ctx context.Context, what, remedy string, f func(ctx context.Context, c *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := d.connection(ctx)
	if err != nil {
		return d.fail(ctx, what, remedy, err)
	}
	err = f(ctx, conn)
	if err != nil || !d.idle.put(conn) {
		closeBounded(ctx, conn.Close)
	}
	return d.fail(ctx, what, remedy, err)
}

// connection is the kept one if it still answers, else a new one.
func (d *Database) connection(ctx context.Context) (*pgx.Conn, error) {
	if conn := d.idle.take(); conn != nil {
		// The server may have restarted; a statement on a dead connection must not be the
		// one that acts.
		if conn.Ping(ctx) == nil {
			return conn, nil
		}
		closeBounded(ctx, conn.Close)
	}
	return pgx.ConnectConfig(ctx, d.config.Copy())
}

// Close ends the kept connection.
func (d *Database) Close(ctx context.Context) {
	if conn := d.idle.take(); conn != nil {
		closeBounded(ctx, conn.Close)
	}
}

// replicating is with on a walsender. "database" is chosen over plain physical
// replication because such a connection takes SQL too, so that one session sees
// one server, and because pg_hba.conf judges it by the database's line: no line
// for "replication" is needed (PostgreSQL 15, protocol-replication).
func (d *Database) replicating(ctx context.Context, what string, f func(ctx context.Context, s session) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	config := d.config.Config.Copy()
	config.RuntimeParams["replication"] = "database"
	remedy := "ALTER ROLE " + d.role() + " REPLICATION; GRANT pg_monitor TO " + d.role()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return d.fail(ctx, what, remedy, err)
	}
	defer closeBounded(ctx, conn.Close)
	return d.fail(ctx, what, remedy, f(ctx, session{conn}))
}

// role is the user's name as an SQL identifier.
func (d *Database) role() string { return quoteIdentifier(d.config.User) }

func (d *Database) grantMonitor() string { return "GRANT pg_monitor TO " + d.role() }

func quoteIdentifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// closeBounded says good-bye even when ctx is over, but not for long.
func closeBounded(ctx context.Context, closeConn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = closeConn(ctx) // the socket is closed whatever is returned
}

// major is the server's major version, from what it said when the session began.
func major(c *pgconn.PgConn) (int, error) { return leadingNumber(c.ParameterStatus("server_version")) }
