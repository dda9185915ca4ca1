package pgops

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgresync/pgresync/messages"
)

// ReserveSlotAt is ReserveSlot from an earlier position on, whose log must still be
// there: for a copy that was made a while ago. No function makes such a slot, but a
// standby that says where it stands moves its slot there, backwards too (PostgreSQL
// 15, walsender.c, PhysicalConfirmReceivedLocation), and to say so is all that this
// does. When the log is gone, or goes in this very moment, there is no slot and the
// error is messages.ErrNotFound.
func (d *Database) ReserveSlotAt(ctx context.Context, name string, timeline messages.Timeline, at messages.LSN) (messages.SlotState, error) {
	if _, err := d.ReserveSlot(ctx, name); err != nil {
		return messages.SlotState{}, err
	}
	err := d.replicating(ctx, fmt.Sprintf("move slot %s to %s", name, at), func(ctx context.Context, s session) error {
		return s.confirm(ctx, name, timeline, at)
	})
	var out messages.SlotState
	if err == nil {
		out, err = d.keeps(ctx, name, at)
	}
	if err != nil {
		return messages.SlotState{}, errors.Join(err, d.DropSlot(context.WithoutCancel(ctx), name))
	}
	return out, nil
}

// keeps looks at the slot, and then at the files: what the slot is to keep was there
// after it was made.
func (d *Database) keeps(ctx context.Context, name string, at messages.LSN) (out messages.SlotState, err error) {
	what := fmt.Sprintf("keep the log from %s for slot %s", at, name)
	err = d.with(ctx, what, d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) error {
		found, err := slots(ctx, c, name)
		if err == nil && len(found) == 1 {
			out = found[0]
		}
		return err
	})
	if err != nil {
		return out, err
	}
	wal, err := d.WAL(ctx)
	if err != nil {
		return out, err
	}
	if !out.Keeps(at, wal.SegmentSize) || wal.Oldest > at.SegmentStart(wal.SegmentSize) {
		return out, fmt.Errorf("%s: %w: it begins at %s", what, messages.ErrNotFound, wal.Oldest)
	}
	return out, nil
}

// confirm says once, as a standby does, that all before at was received, and waits
// for the answer.
func (s session) confirm(ctx context.Context, slot string, timeline messages.Timeline, at messages.LSN) error {
	front := s.conn.Frontend()
	front.Send(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %s", slot, at, timeline)})
	if err := front.Flush(); err != nil {
		return err
	}
	for {
		m, err := s.conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
			front.Send(&pgproto3.CopyData{Data: standbyStatus(at)})
			if err := front.Flush(); err != nil {
				return err
			}
		case *pgproto3.CopyData:
			// What was asked for is answered by a keepalive; the log comes in between.
			if len(m.Data) > 0 && m.Data[0] == 'k' {
				return nil
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone, *pgproto3.ReadyForQuery:
			return fmt.Errorf("%w: timeline %s ends before %s", messages.ErrNotFound, timeline, at)
		}
	}
}

// standbyStatus is a standby's status update that asks for an answer (PostgreSQL 15,
// protocol-replication).
func standbyStatus(at messages.LSN) []byte {
	const clock, answer = 0, 1
	b := []byte{'r'}
	for range 3 { // written, flushed, applied
		b = walWire.AppendUint64(b, uint64(at))
	}
	return append(walWire.AppendUint64(b, clock), answer)
}
