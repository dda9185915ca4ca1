package pgops

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgresync/pgresync/messages"
)

// readWAL returns the log from at to to, all of which must be flushed (and on a
// standby replayed): a walsender waits for more otherwise. It is how a role with
// nothing but REPLICATION reads the log, on a primary and on a standby, from
// PostgreSQL 9 on. A segment that is gone is messages.ErrNotFound.
//
// The session cannot be used for anything else afterwards.
func (s session) readWAL(ctx context.Context, timeline messages.Timeline, at, to messages.LSN) ([]byte, error) {
	front := s.conn.Frontend()
	front.Send(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION PHYSICAL %s TIMELINE %s", at, timeline)})
	if err := front.Flush(); err != nil {
		return nil, err
	}
	want := to.Sub(at)
	var got []byte
	for uint64(len(got)) < want {
		// The connection turns an error of the server into one of Go's.
		m, err := s.conn.ReceiveMessage(ctx)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			got = append(got, walData(m.Data)...)
		case *pgproto3.ErrorResponse:
			return nil, pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			return nil, fmt.Errorf("log from %s: %w: timeline %s ends before %s", at, messages.ErrNotFound, timeline, to)
		}
	}
	return got[:want], nil
}

// walData is what an XLogData message carries; keepalives carry nothing
// (PostgreSQL 15, protocol-replication).
func walData(m []byte) []byte {
	const head = 1 + 8 + 8 + 8 // 'w', where it begins, where the log ends, the clock
	if len(m) < head || m[0] != 'w' {
		return nil
	}
	return m[head:]
}

// flushed is how far the log can be read: up to what is durable on a primary, up
// to what was replayed on a standby, beyond which its bytes may yet change.
func (s session) flushed(ctx context.Context) (messages.LSN, error) {
	row, err := s.row(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END`, 1)
	if err != nil {
		return 0, err
	}
	return messages.ParseLSN(row[0])
}

// walShape is how a server's log is cut up.
type walShape struct{ block, segment uint64 }

func (s session) shape(ctx context.Context) (walShape, error) {
	row, err := s.row(ctx, `SELECT (SELECT setting FROM pg_settings WHERE name = 'wal_block_size'), (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size')`, 2)
	if err != nil {
		return walShape{}, err
	}
	block, err1 := strconv.ParseUint(row[0], 10, 64)
	segment, err2 := strconv.ParseUint(row[1], 10, 64)
	if err1 != nil || err2 != nil || block == 0 || segment%max(block, 1) != 0 || segment == 0 {
		return walShape{}, fmt.Errorf("wal_block_size %q, wal_segment_size %q: want numbers, one a multiple of the other", row[0], row[1])
	}
	return walShape{block, segment}, nil
}

// walOrder is how the log stands on disk, on any machine that runs PostgreSQL and
// ZFS; walWire is how the protocol counts.
var (
	walOrder = binary.LittleEndian
	walWire  = binary.BigEndian
)
