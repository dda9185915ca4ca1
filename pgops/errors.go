package pgops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgresync/pgresync/messages"
)

// The conditions that are told apart (PostgreSQL 15, errcodes-appendix).
const (
	stateInvalidAuth      = "28000"
	stateInvalidPassword  = "28P01"
	stateNoPrivilege      = "42501"
	stateUndefinedObject  = "42704"
	stateDuplicateObject  = "42710"
	stateObjectInUse      = "55006"
	stateTooMany          = "53300"
	stateQueryCanceled    = "57014"
	stateUndefinedFile    = "58P01"
	classConnection       = "08"
	classOperatorAndStart = "57P" // shutting down, crashed, starting up, dropped
)

// fail wraps err with the operation, the sentinel that services compare with and
// what mends it. It is nil for nil.
func (d *Database) fail(ctx context.Context, what, remedy string, err error) error {
	if err == nil {
		return nil
	}
	what = fmt.Sprintf("%s on %s", what, d.address())
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	sentinel := classify(err)
	if sentinel == nil || errors.Is(err, sentinel) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if hint := d.hint(err, remedy); hint != "" {
		return fmt.Errorf("%s: %w: %w (%s)", what, sentinel, err, hint)
	}
	return fmt.Errorf("%s: %w: %w", what, sentinel, err)
}

func (d *Database) address() string {
	return net.JoinHostPort(d.config.Host, fmt.Sprint(d.config.Port))
}

// classify finds the sentinel, nil when there is none.
func classify(err error) error {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifyState(pe.Code)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return messages.ErrUnavailable
	}
	_, isNet := errors.AsType[net.Error](err)
	if isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, context.DeadlineExceeded) {
		return messages.ErrUnavailable
	}
	return nil
}

func classifyState(code string) error {
	switch code {
	case stateInvalidAuth, stateInvalidPassword, stateNoPrivilege:
		return messages.ErrPermission
	case stateUndefinedObject, stateUndefinedFile:
		return messages.ErrNotFound
	case stateDuplicateObject:
		return messages.ErrExists
	case stateObjectInUse:
		return messages.ErrBusy
	case stateTooMany, stateQueryCanceled:
		return messages.ErrUnavailable
	}
	if strings.HasPrefix(code, classConnection) || strings.HasPrefix(code, classOperatorAndStart) {
		return messages.ErrUnavailable
	}
	return nil
}

func hasState(err error, code string) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == code
}

// hint is what an operator can do about err.
func (d *Database) hint(err error, remedy string) string {
	switch {
	case hasState(err, stateNoPrivilege):
		return remedy
	case hasState(err, stateInvalidPassword):
		return "check the password of role " + d.role()
	case hasState(err, stateInvalidAuth):
		return fmt.Sprintf("check that role %s may log in, and that pg_hba.conf has a line like \"%s\"", d.role(), d.hbaLine())
	case hasState(err, stateTooMany):
		return "raise max_connections or max_wal_senders, or end sessions"
	}
	return ""
}

func (d *Database) hbaLine() string {
	if strings.HasPrefix(d.config.Host, "/") {
		return fmt.Sprintf("local %s %s peer", d.config.Database, d.config.User)
	}
	return fmt.Sprintf("host %s %s samehost scram-sha-256", d.config.Database, d.config.User)
}

// explain finds in a server's log why it did not start. It reads PostgreSQL's
// English and so finds nothing when lc_messages is another language; callers
// decide by facts first. Texts as measured on 15.18 (PG-7, PG-7b, PG-4b, PG-9),
// those of 12 and 13 from their sources.
func explain(log string) (messages.Reason, string) {
	for _, k := range []struct {
		text   string
		reason messages.Reason
	}{
		{"recovery aborted because of insufficient parameter settings", messages.ReasonSettingsTooLow},
		{"hot standby is not possible because", messages.ReasonSettingsTooLow},
		{"database system identifier differs between the primary and standby", messages.ReasonWrongCluster},
		{"WAL file is from different database system", messages.ReasonWrongCluster},
		{"database files are incompatible with server", messages.ReasonWrongVersion},
	} {
		if line, ok := lineWith(log, k.text); ok {
			return k.reason, line
		}
	}
	return messages.ReasonServerDown, lastSevere(log)
}

// ofTheData are what PostgreSQL says of data that is missing or damaged, notOfData
// what it says of its surroundings (15, xlog.c, xlogrecovery.c, md.c, guc-file.l,
// pqcomm.c, sysv_shmem.c, dfmgr.c; those in TestFailedStartsAreClassed as measured).
var (
	ofTheData = []string{
		"could not locate a valid checkpoint record", "invalid checkpoint record", "could not locate required checkpoint record",
		"incorrect checksum in control file", "calculated CRC checksum does not match", "pg_control", "backup_label contains data inconsistent",
		"could not open directory \"pg_", "could not access status of transaction", "could not open file \"pg_xact", "could not open file \"global/",
		"could not open file \"base/", "could not read file \"base/", "invalid page in block", "could not read block", "Input/output error",
		"WAL ends before end of online backup", "WAL ends before consistent recovery point",
	}
	notOfData = []string{
		"could not bind", "could not create any", "contains errors", "could not load library", "could not access file \"", "could not create lock file",
		"lock file \"", "shared memory", "could not create semaphores", "No space left on device", "has invalid permissions", "has wrong ownership",
		"could not load server certificate", "could not load pg_hba.conf", "unrecognized configuration parameter", "Permission denied",
	}
)

// damage tells from a log whether the data is the cause of a failed start; known is
// false when it says nothing that we know.
func damage(log string) (damaged, known bool) {
	has := func(texts []string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(log, text) })
	}
	switch {
	case has(notOfData):
		return false, true
	case has(ofTheData):
		return true, true
	}
	return false, false
}

// lastSevere finds the first PANIC, or else the last FATAL that does not merely
// turn a client away from a server that starts or stops.
func lastSevere(log string) string {
	fatal := ""
	for line := range strings.Lines(log) {
		if _, text, ok := strings.Cut(line, "PANIC: "); ok {
			return "PANIC: " + strings.TrimSpace(text)
		}
		if _, text, ok := strings.Cut(line, "FATAL: "); ok && !strings.Contains(text, "the database system is ") {
			fatal = "FATAL: " + strings.TrimSpace(text)
		}
	}
	return fatal
}

// lineWith finds the last line with text, together with the DETAIL line that
// belongs to it.
func lineWith(log, text string) (string, bool) {
	at := strings.LastIndex(log, text)
	if at < 0 {
		return "", false
	}
	line, rest, _ := strings.Cut(log[at:], "\n")
	next, _, _ := strings.Cut(rest, "\n")
	if _, detail, ok := strings.Cut(next, "DETAIL:"); ok {
		line += " (" + strings.TrimSpace(detail) + ")"
	}
	return strings.TrimSpace(line), true
}

// controlDamaged tells whether pg_controldata doubts what it printed (text as
// captured on 15.18). From 17 on it says so on standard error and still exits 0,
// which is not seen here; PostgreSQL itself refuses such a file when it starts.
func controlDamaged(line string) bool { return strings.HasPrefix(line, "WARNING:") }

// controlInProduction is pg_controldata's word, in the C locale, for the state of
// a primary that runs or crashed.
const controlInProduction = "in production"
