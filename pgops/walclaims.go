package pgops

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

// claimSpan is the stretch of log, right before a position, that a standby stands
// for by its hash.
const claimSpan = 64 << 10

// WALClaims is what a running standby can say of its log that its primary's log
// must agree with: its last restart point, the bytes right before its position and
// at the end of the segment before, and where the next record begins. The walreceiver writes
// whole segments anew, so that none of them suffices alone: what a diverged standby
// had of the last segment is gone once it asked for it again.
//
// It needs REPLICATION, and a free walsender for the bytes; without one, or where a
// segment is gone, there are fewer claims.
func (d *Database) WALClaims(ctx context.Context) ([]messages.WALClaim, error) {
	var claims []messages.WALClaim
	var spans []messages.WALClaim
	err := d.replicating(ctx, "read the position of PostgreSQL", func(ctx context.Context, s session) (err error) {
		claims, spans, err = s.positions(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, c := range spans {
		err := d.replicating(ctx, "read the log of PostgreSQL", func(ctx context.Context, s session) error {
			raw, err := s.readWAL(ctx, c.Timeline, c.At, c.To)
			if err == nil {
				c.SHA256 = hashOf(raw)
			}
			return err
		})
		if err == nil {
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// positions are the claims that need no reading, and the spans that do.
func (s session) positions(ctx context.Context) (claims, spans []messages.WALClaim, err error) {
	id, err := s.identity(ctx)
	if err != nil {
		return nil, nil, err
	}
	if id.Role != messages.RoleStandby || id.LSN == 0 {
		return nil, nil, fmt.Errorf("%w: it is no standby that has replayed anything", messages.ErrNotFound)
	}
	row, err := s.row(ctx, `SELECT timeline_id, checkpoint_lsn, redo_lsn, extract(epoch FROM checkpoint_time)::int8 FROM pg_control_checkpoint()`, 4)
	if err != nil {
		return nil, nil, err
	}
	restart, err := checkpointClaim(row)
	if err != nil {
		return nil, nil, err
	}
	shape, err := s.shape(ctx)
	if err != nil {
		return nil, nil, err
	}
	claims = []messages.WALClaim{restart, {Kind: messages.WALBoundary, Timeline: id.Timeline.Current, At: id.LSN}}
	return claims, spansBefore(id, shape), nil
}

// spansBefore are the stretches of the current timeline that end at the position
// and at the start of its segment. At the start of a segment the server may have
// replayed a switch (xlogreader.c, XLOG_SWITCH): what the segment before has behind
// that record may not have been received yet, and be anything.
func spansBefore(id messages.Identity, shape walShape) (spans []messages.WALClaim) {
	begin := messages.LSN(shape.segment) // the first segment is never written
	if n := len(id.Timeline.Ancestors); n > 0 {
		begin = id.Timeline.Ancestors[n-1].EndLSN
	}
	ends := []messages.LSN{id.LSN, id.LSN.SegmentStart(shape.segment)}
	if ends[0] == ends[1] {
		ends = []messages.LSN{max(begin, id.LSN-messages.LSN(min(shape.segment, uint64(id.LSN))))}
	}
	for _, to := range ends {
		at := begin
		if to.Sub(begin) > claimSpan {
			at = to - claimSpan
		}
		if to > at {
			spans = append(spans, messages.WALClaim{Kind: messages.WALBytes, Timeline: id.Timeline.Current, At: at, To: to})
		}
	}
	return spans
}

func checkpointClaim(row []string) (c messages.WALClaim, err error) {
	c.Kind = messages.WALCheckpoint
	if c.Timeline, err = parseTimeline(row[0]); err != nil {
		return c, err
	}
	if c.At, err = messages.ParseLSN(row[1]); err != nil {
		return c, err
	}
	if c.Redo, err = messages.ParseLSN(row[2]); err != nil {
		return c, err
	}
	_, err = fmt.Sscan(row[3], &c.Time)
	return c, err
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// AttestWAL holds the claims of a standby against this server's log. What is not
// there, not yet flushed, or of a timeline that is not this server's, is unknown.
func (d *Database) AttestWAL(ctx context.Context, claims []messages.WALClaim) ([]messages.WALAnswer, error) {
	out := make([]messages.WALAnswer, len(claims))
	for i, c := range claims {
		err := d.replicating(ctx, "read the log of PostgreSQL", func(ctx context.Context, s session) (err error) {
			out[i], err = s.attest(ctx, c)
			return err
		})
		switch {
		case err == nil:
		case errors.Is(err, messages.ErrUnavailable) || ctx.Err() != nil:
			return nil, err
		default:
			out[i] = messages.WALAnswer{Verdict: messages.WALUnknown, Why: err.Error()}
		}
	}
	return out, nil
}

func (s session) attest(ctx context.Context, c messages.WALClaim) (messages.WALAnswer, error) {
	unknown := func(why string) messages.WALAnswer {
		return messages.WALAnswer{Verdict: messages.WALUnknown, Why: why}
	}
	id, err := s.identity(ctx)
	if err != nil {
		return messages.WALAnswer{}, err
	}
	end, err := s.flushed(ctx)
	if err != nil {
		return messages.WALAnswer{}, err
	}
	shape, err := s.shape(ctx)
	if err != nil {
		return messages.WALAnswer{}, err
	}
	fork, known := id.Timeline.ForkPoint(c.Timeline)
	if end = min(end, fork); !known {
		return unknown("timeline " + c.Timeline.String() + " is not in this server's history"), nil
	}
	to := c.To
	if c.Kind != messages.WALBytes {
		to = min(c.At+maxRecord, end)
	}
	if to > end || to <= c.At {
		return unknown("this server's log does not reach there"), nil
	}
	raw, err := s.readWAL(ctx, c.Timeline, c.At, to)
	if err != nil {
		return messages.WALAnswer{}, err
	}
	return judge(c, raw, shape), nil
}

// judge compares a claim with the log from its position on.
func judge(c messages.WALClaim, raw []byte, shape walShape) messages.WALAnswer {
	differs := func(format string, args ...any) messages.WALAnswer {
		return messages.WALAnswer{Verdict: messages.WALDiffers, Why: fmt.Sprintf(format, args...)}
	}
	if c.Kind == messages.WALBytes {
		if hashOf(raw) != c.SHA256 {
			return differs("the log from %s to %s on timeline %s has other bytes", c.At, c.To, c.Timeline)
		}
		return messages.WALAnswer{Verdict: messages.WALAgrees}
	}
	r, err := parseRecord(raw, c.At, shape)
	switch {
	case errors.Is(err, errPartRecord):
		return messages.WALAnswer{Verdict: messages.WALUnknown, Why: fmt.Sprintf("record at %s: %v", c.At, err)}
	case err != nil:
		return differs("no record begins at %s on timeline %s (%v)", c.At, c.Timeline, err)
	case c.Kind == messages.WALBoundary:
		return messages.WALAnswer{Verdict: messages.WALAgrees}
	}
	redo, rest, is := checkpointOf(r)
	switch {
	case !is:
		return differs("the record at %s on timeline %s is no checkpoint", c.At, c.Timeline)
	case redo != c.Redo || !holdsTime(rest, c.Time):
		return differs("another checkpoint is at %s on timeline %s", c.At, c.Timeline)
	}
	return messages.WALAnswer{Verdict: messages.WALAgrees}
}
