package pgops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// stopTimeout bounds pg_backup_stop, which does not wait for the archiver and so
// has little to do but write one record and switch the segment.
const stopTimeout = 30 * time.Second

// Backup runs during inside backup mode, on one dedicated connection, and returns
// what the copy needs. Only a bracket that was closed in order yields a result.
//
// Whatever fails, backup mode ends: PostgreSQL aborts the backup when its
// connection goes (PostgreSQL 15, continuous-archiving 26.3.3), and the
// connection is closed before Backup returns. The stop is not subject to ctx, but
// bounded. Errors: messages.ErrNotPrimary in recovery, ErrPermission with the
// GRANT, ErrUnavailable; what during returned is wrapped as it is.
func (d *Database) Backup(ctx context.Context, label string, during func(ctx context.Context) error) (messages.Backup, error) {
	if err := checkLabelText(label); err != nil {
		return messages.Backup{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.backupTimeout,
		fmt.Errorf("the backup window of %s is over: %w", d.backupTimeout, context.DeadlineExceeded))
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, d.config.Copy())
	if err != nil {
		return messages.Backup{}, d.fail(ctx, "open a backup", "", err)
	}
	defer closeBounded(ctx, conn.Close)
	version, err := major(conn.PgConn())
	if err != nil {
		return messages.Backup{}, d.fail(ctx, "open a backup", "", err)
	}
	b := bracket{conn: conn, major: version}
	remedy := strings.Join(b.grants(d.role()), "; ")
	start, err := b.start(ctx, label, d.backupTimeout)
	if err != nil {
		return messages.Backup{}, d.fail(ctx, "start a backup", remedy, err)
	}
	workErr := during(ctx)
	if workErr == nil {
		workErr = context.Cause(ctx)
	}
	backup, err := b.stop(ctx, start)
	if workErr != nil {
		return messages.Backup{}, fmt.Errorf("inside the backup of %s: %w", d.address(), workErr)
	}
	if err != nil {
		return messages.Backup{}, d.fail(context.WithoutCancel(ctx), "stop the backup (the snapshot is not usable)", remedy, err)
	}
	return backup, nil
}

// checkLabelText keeps a label from adding lines to the file it ends up in.
func checkLabelText(label string) error {
	if label == "" || len(label) > 256 {
		return errors.New("backup label: want 1 to 256 characters")
	}
	for i := range len(label) {
		if label[i] < ' ' || label[i] > '~' {
			return fmt.Errorf("backup label: character %q is not printable ASCII", label[i])
		}
	}
	return nil
}

// bracket is one session in backup mode.
type bracket struct {
	conn  *pgx.Conn
	major int
}

// From 15 on the functions have new names, and exclusive mode is gone.
func (b bracket) startSQL() string {
	if b.major >= 15 {
		return "SELECT pg_backup_start($1::text, true)::text"
	}
	return "SELECT pg_start_backup($1::text, true, false)::text"
}

// The stop never waits for the archiver: with a broken archive_command it would
// wait for ever, and a standby streams what it needs (FACTS 1.1).
func (b bracket) stopSQL() string {
	if b.major >= 15 {
		return "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(false)"
	}
	return "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, false)"
}

func (b bracket) grants(role string) []string {
	var out []string
	for _, f := range backupFunctions(b.major) {
		out = append(out, "GRANT EXECUTE ON FUNCTION pg_catalog."+f+" TO "+role)
	}
	return out
}

func backupFunctions(major int) []string {
	if major >= 15 {
		return []string{"pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"}
	}
	return []string{"pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"}
}

// start enters backup mode. The time-outs hold for the start only, which waits
// for a checkpoint: on the stop, statement_timeout may leave the label unknown.
func (b bracket) start(ctx context.Context, label string, limit time.Duration) (messages.LSN, error) {
	var inRecovery bool
	if err := b.conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&inRecovery); err != nil {
		return 0, err
	}
	if inRecovery {
		return 0, fmt.Errorf("%w: it is in recovery", messages.ErrNotPrimary)
	}
	if err := b.set(ctx, map[string]string{"statement_timeout": millis(limit), "lock_timeout": millis(limit)}); err != nil {
		return 0, err
	}
	var text string
	if err := b.conn.QueryRow(ctx, b.startSQL(), label).Scan(&text); err != nil {
		return 0, err
	}
	calm := map[string]string{"statement_timeout": "0", "lock_timeout": "0"}
	if b.major >= 14 {
		calm["idle_session_timeout"] = "0"
	}
	if err := b.set(ctx, calm); err != nil {
		return 0, err
	}
	return messages.ParseLSN(text)
}

func (b bracket) set(ctx context.Context, settings map[string]string) error {
	for name, value := range settings {
		if _, err := b.conn.Exec(ctx, "SELECT set_config($1, $2, false)", name, value); err != nil {
			return err
		}
	}
	return nil
}

// stop leaves backup mode and checks that what came back belongs to start.
func (b bracket) stop(ctx context.Context, start messages.LSN) (messages.Backup, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var stopped string
	var label, tablespaces []byte
	if err := b.conn.QueryRow(ctx, b.stopSQL()).Scan(&stopped, &label, &tablespaces); err != nil {
		return messages.Backup{}, err
	}
	stop, err := messages.ParseLSN(stopped)
	if err != nil {
		return messages.Backup{}, err
	}
	parsed, err := ParseBackupLabel(label)
	if err != nil {
		return messages.Backup{}, err
	}
	if parsed.StartLSN != start || stop < start {
		return messages.Backup{}, fmt.Errorf("the backup began at %s, its label says %s, and it ended at %s", start, parsed.StartLSN, stop)
	}
	out := messages.Backup{StartLSN: start, StopLSN: stop, Label: label}
	if len(tablespaces) > 0 {
		out.TablespaceMap = tablespaces
	}
	return out, nil
}
