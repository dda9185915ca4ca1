package pgops

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgresync/pgresync/messages"
)

// session is a walsender connection, which speaks the simple protocol only.
type session struct{ conn *pgconn.PgConn }

// query returns all rows as text; NULL is an empty string.
func (s session) query(ctx context.Context, command string) ([][]string, error) {
	results, err := s.conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, result := range results {
		if result.Err != nil {
			return nil, result.Err
		}
		for _, values := range result.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// row is query for exactly one row of at least columns values.
func (s session) row(ctx context.Context, command string, columns int) ([]string, error) {
	rows, err := s.query(ctx, command)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < columns {
		return nil, fmt.Errorf("answer to %q: want one row of %d columns, have %d rows", command, columns, len(rows))
	}
	return rows[0], nil
}

// history reads the timeline's ancestors. A history file that is missing means
// that there are none, as it does to PostgreSQL itself (readTimeLineHistory); a
// standby that was just cloned fetches it when it first connects.
func (s session) history(ctx context.Context, timeline messages.Timeline) (messages.TimelineHistory, error) {
	if timeline == 1 {
		return messages.TimelineHistory{Current: 1}, nil
	}
	row, err := s.row(ctx, "TIMELINE_HISTORY "+timeline.String(), 2)
	if hasState(err, stateUndefinedFile) {
		return messages.TimelineHistory{Current: timeline}, nil
	}
	if err != nil {
		return messages.TimelineHistory{}, err
	}
	return ParseHistoryFile(timeline, []byte(row[1]))
}

// leadingNumber reads 15 from "15.18 (Debian 15.18-0)" and 18 from "18beta1".
func leadingNumber(s string) (int, error) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	v, err := strconv.Atoi(s[:end])
	if err != nil {
		return 0, fmt.Errorf("version %q: want a number", s)
	}
	return v, nil
}
