package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ConfigFile is postgresql.conf of a node whose configuration does not lie in the
// data directory, as Debian has it.
const ConfigFile = "/run/pgresync/etc/postgresql.conf"

// ConfigureElsewhere gives the node a configuration outside of its data directory,
// and takes the one in there away, if there is one. PostgreSQL must not run. It says
// where the data directory is, as Debian's does.
func (n *Node) ConfigureElsewhere(ctx context.Context) error {
	dir := filepath.Dir(ConfigFile)
	_, err := n.Run(ctx, "install", "-d", "-o", "postgres", "-g", "postgres", dir)
	if err != nil {
		return err
	}
	more := fmt.Sprintf("data_directory = '%s'\nhba_file = '%[2]s/pg_hba.conf'\nident_file = '%[2]s/pg_ident.conf'\n", DataDir, dir)
	for name, text := range map[string]string{"postgresql.conf": settings + more, "pg_hba.conf": access, "pg_ident.conf": ""} {
		if err := n.Write(ctx, filepath.Join(dir, name), 0o640, text); err != nil {
			return err
		}
		if _, err := n.Run(ctx, "rm", "-f", filepath.Join(DataDir, name)); err != nil {
			return err
		}
	}
	n.configured = true
	return nil
}

// Write makes a file that PostgreSQL's user owns, inside the node.
func (n *Node) Write(_ context.Context, path string, mode os.FileMode, text string) error {
	// It is only visible there.
	inside := filepath.Join(fmt.Sprintf("/proc/%d/root", n.holder.PID()), path)
	if err := os.WriteFile(inside, []byte(text), mode); err != nil {
		return err
	}
	uid, gid, err := postgresIDs()
	if err != nil {
		return err
	}
	return os.Chown(inside, uid, gid)
}

// startServer is pg_ctl with the node's configuration.
func (n *Node) startServer() []string {
	argv := []string{"pg_ctl", "start", "-w", "-t", "120", "-D", DataDir, "-l", n.ServerLog()}
	if n.configured {
		argv = append(argv, "-o", "-c config_file="+ConfigFile)
	}
	return argv
}

// ControlScripts are settings by which a sidecar starts and stops PostgreSQL with
// three commands of the node's, as Debian's pg_ctlcluster is one.
func (n *Node) ControlScripts(ctx context.Context) (map[string]string, error) {
	const dir = "/run/postgresql"
	env := map[string]string{}
	for name, argv := range map[string][]string{
		"start": n.startServer(), "stop": {"pg_ctl", "stop", "-w", "-m", "fast", "-D", DataDir}, "status": {"pg_ctl", "status", "-D", DataDir},
	} {
		quoted := make([]string, len(argv))
		for i, a := range argv {
			quoted[i] = "'" + a + "'"
		}
		path := filepath.Join(dir, "lab-"+name)
		if err := n.Write(ctx, path, 0o755, "#!/bin/sh\nPATH="+searchPath()+"\necho "+name+" >>"+dir+"/lab-control\nexec "+strings.Join(quoted, " ")+"\n"); err != nil {
			return nil, err
		}
		env["PGRESYNC_PG_"+strings.ToUpper(name)+"_COMMAND"] = path
	}
	return env, nil
}

// Controlled lists what the scripts were run for since the last call.
func (n *Node) Controlled(ctx context.Context) (string, error) {
	return n.Run(ctx, "sh", "-c", "cat /run/postgresql/lab-control && : >/run/postgresql/lab-control")
}
