package pgops

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Privileges lists the statements that give the role what the primary sidecar
// needs and it lacks, ready for psql; none when nothing is missing. A superuser
// lacks nothing. pg_checkpoint is not asked for: pg_backup_start makes its
// checkpoint itself.
func (d *Database) Privileges(ctx context.Context) ([]string, error) {
	return d.privileges(ctx, true)
}

// StandbyPrivileges is Privileges for the secondary sidecar, which takes no
// backups.
func (d *Database) StandbyPrivileges(ctx context.Context) ([]string, error) {
	return d.privileges(ctx, false)
}

func (d *Database) privileges(ctx context.Context, backups bool) ([]string, error) {
	var missing []string
	err := d.with(ctx, "check privileges", "", func(ctx context.Context, c *pgx.Conn) error {
		version, err := major(c.PgConn())
		if err != nil {
			return err
		}
		role := d.role()
		var replication, monitor bool
		if err := c.QueryRow(ctx, `SELECT rolsuper OR rolreplication, pg_has_role(current_user, 'pg_monitor', 'USAGE')
			FROM pg_roles WHERE rolname = current_user`).Scan(&replication, &monitor); err != nil {
			return err
		}
		if !replication {
			missing = append(missing, d.grantReplication())
		}
		if !monitor {
			missing = append(missing, d.grantMonitor())
		}
		for _, f := range backupFunctions(version) {
			if !backups {
				break
			}
			var may bool
			if err := c.QueryRow(ctx, "SELECT has_function_privilege(current_user, $1::text, 'EXECUTE')", "pg_catalog."+f).Scan(&may); err != nil {
				return err
			}
			if !may {
				missing = append(missing, "GRANT EXECUTE ON FUNCTION pg_catalog."+f+" TO "+role)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return missing, nil
}
