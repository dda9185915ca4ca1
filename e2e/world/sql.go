package world

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// SocketDir is the directory of the node's PostgreSQL socket as seen from outside
// the node's mount namespace.
func (n *Node) SocketDir() string {
	return fmt.Sprintf("/proc/%d/root/run/postgresql", n.holder.PID())
}

// Connect opens a connection to the node's PostgreSQL through its socket, so that
// a cut network is not in the way.
func (n *Node) Connect(ctx context.Context) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return pgconn.Connect(ctx, "host="+n.SocketDir()+" user=postgres dbname=postgres")
}

// SQL runs one or more statements as postgres and returns the rows of all of them
// like psql -At: fields with '|' between them, rows on lines of their own.
func (n *Node) SQL(ctx context.Context, query string) (string, error) {
	c, err := n.Connect(ctx)
	if err != nil {
		return "", fmt.Errorf("SQL on %s: %w", n.Name, err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	out, err := Query(ctx, c, query)
	if err != nil {
		return "", fmt.Errorf("SQL on %s: %s: %w", n.Name, query, err)
	}
	return out, nil
}

// Query is SQL on a connection that is there already.
func Query(ctx context.Context, c *pgconn.PgConn, query string) (string, error) {
	results, err := c.Exec(ctx, query).ReadAll()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			fields := make([]string, len(row))
			for i, f := range row {
				fields[i] = string(f)
			}
			lines = append(lines, strings.Join(fields, "|"))
		}
	}
	return strings.Join(lines, "\n"), nil
}
