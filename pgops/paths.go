package pgops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/pgresync/pgresync/messages"
)

// Paths asks the server where its data directory and tablespaces are, and
// resolves them with pg_wal on the local file system. It needs pg_monitor (for
// data_directory), and search permission on the data directory. In-place
// tablespaces (PostgreSQL 15, allow_in_place_tablespaces) lie inside the data
// directory and are not listed.
func (d *Database) Paths(ctx context.Context) (messages.Paths, error) {
	var dataDir string
	tablespaces := map[uint32]string{}
	err := d.with(ctx, "read the paths of PostgreSQL", d.grantMonitor(), func(ctx context.Context, c *pgx.Conn) error {
		if err := c.QueryRow(ctx, "SELECT current_setting('data_directory')").Scan(&dataDir); err != nil {
			return err
		}
		rows, err := c.Query(ctx, "SELECT oid::int8, pg_tablespace_location(oid) FROM pg_tablespace")
		if err != nil {
			return err
		}
		var oid int64
		var path string
		_, err = pgx.ForEachRow(rows, []any{&oid, &path}, func() error {
			if filepath.IsAbs(path) {
				tablespaces[uint32(oid)] = path
			}
			return nil
		})
		return err
	})
	if err != nil {
		return messages.Paths{}, err
	}
	return resolvePaths(dataDir, tablespaces)
}

func resolvePaths(dataDir string, tablespaces map[uint32]string) (p messages.Paths, err error) {
	if p.DataDir, err = resolve(dataDir); err != nil {
		return messages.Paths{}, err
	}
	wal := filepath.Join(p.DataDir, "pg_wal")
	info, err := os.Lstat(wal)
	if err != nil {
		return messages.Paths{}, localError(wal, err)
	}
	p.WALLink = info.Mode()&fs.ModeSymlink != 0
	if p.WALDir, err = resolve(wal); err != nil {
		return messages.Paths{}, err
	}
	p.Tablespaces = make(map[uint32]string, len(tablespaces))
	for oid, path := range tablespaces {
		if p.Tablespaces[oid], err = resolve(path); err != nil {
			return messages.Paths{}, err
		}
	}
	return p, nil
}

func resolve(path string) (string, error) {
	out, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", localError(path, err)
	}
	return out, nil
}

// localError says what an operator can do about a path of the server that is out
// of reach for us.
func localError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("resolve %s: %w: %w (run the sidecar as PostgreSQL's user, or as a member of its group after initdb --allow-group-access)",
			path, messages.ErrPermission, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("resolve %s: %w: %w (the server says it is there: does the sidecar run on the server's host, outside of its container?)",
			path, messages.ErrNotFound, err)
	}
	return fmt.Errorf("resolve %s: %w", path, err)
}
