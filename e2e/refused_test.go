package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// attempts must all fail, and leave everything as it was.
func (p *privileged) attempts(t testing.TB, state func() string, argvs [][]string) {
	t.Helper()
	before := state()
	for _, argv := range argvs {
		what := strings.Join(argv, " ")
		_, err := p.db1.Run(t.Context(), asAccount(argv...)...)
		if err == nil {
			t.Errorf("was possible: %s", what)
			continue
		}
		p.note(what, err)
	}
	if after := state(); after != before {
		t.Errorf("something was changed; before:\n%s\nafter:\n%s", before, after)
	}
}

// newestSnapshot is one of ours on the live dataset.
func (p *privileged) newestSnapshot(t testing.TB) string {
	t.Helper()
	all := strings.Split(run(t, p.db1, "zfs", "list", "-H", "-d", "1", "-t", "snapshot", "-o", "name", "-s", "createtxg", p.db1.Live()), "\n")
	_, short, _ := strings.Cut(all[len(all)-1], "@")
	if short == "" {
		t.Fatal("there is no snapshot to try things with")
	}
	return short
}

func (p *privileged) zfsRefuses(t part) {
	live, pool := p.db1.Live(), p.db1.Pool()
	at := "@" + p.newestSnapshot(t)
	state := func() string {
		return run(t, p.db1, "zfs", "get", "-H", "-r", "-o", "name,property,value", "guid,origin,compression,mountpoint,readonly,canmount,quota,userrefs,mounted,foo:bar", pool) +
			run(t, p.db1, "zfs", "allow", live)
	}
	var argvs [][]string
	for line := range strings.SplitSeq(strings.NewReplacer("LIVE", live, "POOL", pool, "@NOW", at).Replace(`zfs destroy POOL/other
zfs destroy -r POOL/other
zfs destroy POOL/other@s
zfs destroy POOL/apart
zfs destroy LIVE/wal
zfs rollback LIVE@NOW
zfs rollback -r LIVE/ts1@NOW
zfs create LIVE/evil
zfs create POOL/evil
zfs clone LIVE@NOW LIVE/evil
zfs clone LIVE@NOW POOL/apart/evil
zfs rename LIVE POOL/evil
zfs rename LIVE@NOW LIVE@evil
zfs mount POOL/apart
zfs unmount LIVE/ts1
zfs unmount -f POOL/other
zfs set compression=off LIVE
zfs set readonly=on LIVE
zfs set mountpoint=/evil LIVE
zfs set canmount=off LIVE/ts1
zfs set quota=1M LIVE
zfs set setuid=on LIVE
zfs inherit compression LIVE
zfs set foo:bar=1 POOL/other
zfs set foo:bar=1 POOL
zfs allow -u pgresync receive,create,mount,rollback LIVE
zfs allow -u pgresync send POOL/other
zfs unallow -e LIVE
zfs snapshot POOL/other@evil
zfs snapshot -r POOL@evil
zfs hold evil POOL/other@s
zfs bookmark POOL/other@s POOL/other#evil
zpool destroy POOL
zpool export POOL
zpool set comment=evil POOL
zpool scrub POOL
zpool add POOL /srv/pg/evil`), "\n") {
		argvs = append(argvs, strings.Fields(line))
	}
	for _, script := range []string{
		"zfs send LIVE/ts1@NOW | zfs receive LIVE/evil",
		"zfs send LIVE/ts1@NOW | zfs receive POOL/evil",
		"zfs send LIVE/ts1@NOW | zfs receive -F POOL/other",
		"zfs send POOL/other@s >/dev/null",
	} {
		argvs = append(argvs, []string{"sh", "-c", strings.NewReplacer("LIVE", live, "POOL", pool, "@NOW", at).Replace(script)})
	}
	p.attempts(t, state, argvs)
}

func (p *privileged) systemRefuses(t part) {
	postmaster := strings.Fields(run(t, p.db1, "head", "-n", "1", world.DataDir+"/postmaster.pid"))[0]
	snapshot := p.newestSnapshot(t)
	state := func() string {
		return run(t, p.db1, "sh", "-c", "cat /srv/other/secret /etc/shadow "+world.DataDir+"/pg_hba.conf; stat -c '%a %U %G %n' "+world.DataDir+" "+world.DataDir+"/* /srv/pg /srv/ts1/*") +
			sql(t, p.db1, "select pg_postmaster_start_time()")
	}
	p.attempts(t, state, [][]string{
		{"cat", world.DataDir + "/global/pg_control"},
		{"cat", world.DataDir + "/postgresql.conf"},
		{"ls", world.DataDir},
		{"ls", world.DataDir + "/base"},
		{"ls", "/srv/ts1/space"},
		{"ls", "/srv/pg/.zfs/snapshot/" + snapshot + "/17"},
		{"touch", world.DataDir + "/evil"},
		{"touch", world.DataDir + "/standby.signal"},
		{"rm", world.DataDir + "/postmaster.pid"},
		{"touch", "/srv/pg/evil"},
		{"cat", "/srv/other/secret"},
		{"cat", "/etc/shadow"},
		{"cat", "/proc/" + postmaster + "/environ"},
		{"sh", "-c", "kill -TERM " + postmaster},
		{"su", "-s", "/bin/sh", "postgres", "-c", "true"},
		{"setpriv", "--reuid=postgres", "true"},
		{"mount", "-t", "tmpfs", "tmpfs", "/mnt"},
		{"umount", "/srv/ts1"},
		{"dd", "if=" + p.db1.PoolFile(), "of=/dev/null", "count=1"},
	})
}

// hostileSQL is what the role must not be able to do; each statement has to end
// in 42501, insufficient_privilege.
var hostileSQL = []string{
	"DROP TABLE pgbench_accounts",
	"TRUNCATE pgbench_history",
	"SELECT count(*) FROM pgbench_accounts",
	"UPDATE pgbench_branches SET bbalance = 0",
	"INSERT INTO pgbench_branches VALUES (99, 0)",
	"ALTER TABLE pgbench_accounts OWNER TO pgresync",
	"COPY pgbench_accounts TO STDOUT",
	"COPY (SELECT 1) TO PROGRAM 'id'",
	"COPY (SELECT 1) TO '/tmp/evil'",
	"CREATE TABLE public.evil (i int)",
	"CREATE SCHEMA evil",
	"CREATE FUNCTION public.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
	"CREATE DATABASE evil",
	"CREATE TABLESPACE evil LOCATION '/srv/ts1/space'",
	"CREATE PUBLICATION evil",
	"SELECT pg_read_file('postgresql.conf')",
	"SELECT pg_read_binary_file('global/pg_control')",
	"SELECT pg_ls_dir('.')",
	"SELECT pg_stat_file('PG_VERSION')",
	"SELECT lo_import('/etc/passwd')",
	"ALTER SYSTEM SET archive_command = 'id'",
	"ALTER ROLE pgresync SUPERUSER",
	"ALTER ROLE postgres PASSWORD 'evil'",
	"CREATE ROLE evil",
	"GRANT pg_read_all_data TO pgresync",
	"GRANT pg_execute_server_program TO pgresync",
	"SET ROLE postgres",
	"SET SESSION AUTHORIZATION postgres",
	"SET session_replication_role = replica",
	"SELECT rolpassword FROM pg_authid",
	"SELECT pg_reload_conf()",
	"SELECT pg_rotate_logfile()",
	"SELECT pg_promote()",
	"SELECT pg_switch_wal()",
	"SELECT pg_create_restore_point('evil')",
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND backend_type = 'client backend'",
	"CHECKPOINT",
}

func (p *privileged) postgresRefuses(t part) {
	// One of a superuser's to be ended.
	victim, err := p.db1.Connect(t.Context())
	must(t, err)
	defer victim.Close(t.Context())
	state := func() string {
		fingerprint, err := p.db1.Fingerprint(t.Context())
		must(t, err)
		return fingerprint + sql(t, p.db1, `select rolname, rolsuper, rolcreaterole from pg_roles; select count(*) from pg_class; select datname from pg_database;
			select member::regrole, roleid::regrole from pg_auth_members; select name, setting from pg_file_settings where sourcefile like '%auto.conf'`)
	}
	before := state()
	script := `\set VERBOSITY sqlstate` + "\n"
	for i, statement := range hostileSQL {
		script += fmt.Sprintf("%s;\n\\echo try %d :ERROR :SQLSTATE\n", statement, i)
	}
	out, err := p.db1.Run(t.Context(), asAccount("sh", "-c", "psql -X -q -A -t -h /run/postgresql -d postgres 2>/dev/null <<'END'\n"+script+"END")...)
	must(t, err)
	for i, statement := range hostileSQL {
		if !strings.Contains(out+"\n", fmt.Sprintf("try %d true 42501\n", i)) {
			_, got, _ := strings.Cut(out, fmt.Sprintf("try %d ", i))
			got, _, _ = strings.Cut(got, "\n")
			t.Errorf("%s: ended with %q, want 42501", statement, got)
			continue
		}
		p.refused = append(p.refused, statement+": 42501 insufficient_privilege")
	}
	if after := state(); after != before {
		t.Errorf("something was changed; before:\n%s\nafter:\n%s", before, after)
	}
	p.attempts(t, state, [][]string{
		{"psql", "-X", "-h", "/run/postgresql", "-d", "template1", "-c", "select 1"},
		{"psql", "-X", "-h", "/run/postgresql", "-d", "postgres", "-U", "postgres", "-c", "select 1"},
		{"psql", "-X", "-h", p.db1.Address(), "-d", "postgres", "-c", "select 1"},
	})
}

// liveSurvivesDestroy: snapshots cannot be kept from who may destroy any, the
// datasets that PostgreSQL runs on can.
func (p *privileged) liveSurvivesDestroy(t part) {
	live := p.db1.Live()
	// Its own holds it may release; until then they stop destroy as well.
	run(t, p.db1, asAccount("sh", "-eu", "-c", `zfs list -H -r -t snapshot -o name "$0" | while read -r s; do
		zfs holds -H "$s" | cut -f 2 | while read -r tag; do zfs release "$tag" "$s"; done; done`, live)...)
	state := func() string {
		return run(t, p.db1, "zfs", "list", "-H", "-r", "-o", "name,guid,mounted", live)
	}
	p.attempts(t, state, [][]string{
		{"zfs", "destroy", "-r", live + "/ts1"},
		{"zfs", "destroy", "-r", live},
		{"zfs", "destroy", "-R", live},
		{"zfs", "destroy", "-f", "-r", live},
	})
	if left := run(t, p.db1, "zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", live); left != "" {
		t.Logf("snapshots that are left:\n%s", left)
	} else {
		t.Log("all snapshots are gone: destroy cannot be delegated for some names only")
	}
	_, err := p.db1.Fingerprint(t.Context())
	must(t, err)
}
