package packaging

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/doctor"
	"github.com/pgresync/pgresync/internal/sidecartest"
)

// TestDeb installs the deb in the lab's machine, lets doctor tell what is missing and
// does it, starts both sidecars as their units would, sees a standby come into
// being, and removes the package again.
func TestDeb(t *testing.T) {
	deb := os.Getenv("PGRESYNC_TEST_DEB")
	if deb == "" || os.Getenv("LAB_IN") == "" {
		t.Skip("it needs the lab and a deb: make test-packages")
	}
	shell(t, "dpkg -i "+filepath.Join(os.Getenv("LAB_IN"), deb))
	installed(t)
	shell(t, "chmod 666 /dev/zfs") // as OpenZFS' rule for udev has it; the machine has no udev
	w := newWorld(t)
	db1, db2 := w.Node("db1"), w.Node("db2")
	must(t, db1.InitPrimary(t.Context()))

	publisher := serviceOf(t, db1, "primary")
	publisher.edit(t, "pgresync.env", map[string]string{"PGRESYNC_NODE": "db1", "PGRESYNC_DATASET": db1.Live(), "PGRESYNC_NATS_URL": "nats://pgresync:lab@10.77.0.254:4222", "PGRESYNC_UNSIGNED": "documents,triggers"})
	publisher.edit(t, "primary.env", map[string]string{"PGRESYNC_ADVERTISE_HOST": db1.Address()})
	doAsDoctorSays(t, publisher)
	run(t, db1, "primary", publisher)

	standby := serviceOf(t, db2, "secondary")
	standby.edit(t, "pgresync.env", map[string]string{"PGRESYNC_NODE": "db2", "PGRESYNC_DATASET": db2.Live(), "PGRESYNC_NATS_URL": "nats://pgresync:lab@10.77.0.254:4222", "PGRESYNC_UNSIGNED": "documents,triggers"})
	standby.edit(t, "secondary.env", map[string]string{"PGRESYNC_PRIMARY_CONNINFO": "user=replicator", "PGRESYNC_PG_LOG_FILE": db2.ServerLog(), "PGRESYNC_CONVERGE_SHORT": "2m"})
	if findings := examine(t, standby); !doctor.Ready(findings) {
		t.Fatalf("doctor of a standby to be: %v", findings)
	}
	sidecar := run(t, db2, "secondary", standby)
	streams(t, db1, db2)

	// KillMode=process: the unit's end is the sidecar's alone.
	must(t, sidecar.Stop())
	if got, err := db2.SQL(t.Context(), "select pg_is_in_recovery()"); got != "t" || err != nil {
		t.Errorf("PostgreSQL after the end of its sidecar: %q, %v", got, err)
	}
	removed(t, db2)
}

func installed(t *testing.T) {
	t.Helper()
	if got := shell(t, `stat -c '%a %U %G %n' /etc/pgresync/*.env`); got != "640 root pgresync /etc/pgresync/pgresync.env\n"+
		"640 root pgresync /etc/pgresync/primary.env\n640 root root /etc/pgresync/secondary.env" {
		t.Errorf("configuration files:\n%s", got)
	}
	if got := shell(t, "getent passwd pgresync | cut -d: -f6,7"); got != "/var/lib/pgresync:/usr/sbin/nologin" {
		t.Errorf("user: %s", got)
	}
	if got := shell(t, "find /etc/systemd -name '*pgresync*'; pgrep -l sidecar || true"); got != "" {
		t.Errorf("the installation enabled or started something: %s", got)
	}
	// The example leaves one thing to be decided, who is believed; with that it is right, for the users that will read it.
	for side, user := range map[string]string{"primary": "pgresync", "secondary": "root"} {
		check := "setpriv --reuid " + user + " --regid " + user + " --clear-groups -- sh -euc 'set -a; . /etc/pgresync/pgresync.env; . /etc/pgresync/" + side + ".env; exec "
		shell(t, check+"env PGRESYNC_UNSIGNED=documents,triggers "+side+"-sidecar check-config'")
		if got := shell(t, check+side+"-sidecar check-config' 2>&1 || true"); strings.Count(got, "\n") != 1 || !strings.Contains(got, "PGRESYNC_TRUSTED_KEYS: needed") {
			t.Errorf("the example as it comes: %s", got)
		}
	}
}

// doAsDoctorSays has nothing granted at first: doctor's own words must do.
func doAsDoctorSays(t *testing.T, s service) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.node.SQL(ctx, "create role pgresync login replication"); err != nil {
		t.Fatal(err)
	}
	// The group's right to search, for the links in the data directory.
	if _, err := s.node.Run(ctx, "chmod", "g+x", world.DataDir); err != nil {
		t.Fatal(err)
	}
	findings := examine(t, s)
	if doctor.Ready(findings) {
		t.Fatalf("doctor finds a user without rights ready: %v", findings)
	}
	for _, f := range findings {
		if f.Level != doctor.Error {
			continue
		}
		t.Logf("doctor: %s: %s; do: %s", f.Check, f.Text, f.Remedy)
		switch {
		case strings.HasPrefix(f.Remedy, "zfs allow "):
			if _, err := s.node.Run(ctx, "sh", "-euc", f.Remedy); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(f.Remedy, "as a superuser: "):
			if _, err := s.node.SQL(ctx, strings.TrimPrefix(f.Remedy, "as a superuser: ")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if findings = examine(t, s); !doctor.Ready(findings) {
		t.Fatalf("doctor after all that it said was done: %v", findings)
	}
}

// examine is doctor, run as the unit would run the sidecar.
func examine(t *testing.T, s service) []doctor.Finding {
	t.Helper()
	in := s.node.Command(s.argv(t, "doctor", "-o", "json")...)
	// Not in.Output: what it found is wanted although it says that the node is not ready.
	c := exec.CommandContext(t.Context(), in.Path, in.Args...)
	c.Env = in.Env
	for k, v := range s.environment(t) {
		c.Env = append(c.Env, k+"="+v)
	}
	out, err := c.Output()
	var doc struct{ Findings []doctor.Finding }
	if jsonErr := json.Unmarshal(out, &doc); jsonErr != nil {
		t.Fatalf("doctor: %v, %v\n%s", err, jsonErr, out)
	}
	return doc.Findings
}

func serviceOf(t *testing.T, n *world.Node, side string) service {
	t.Helper()
	// Each node has a copy of what was installed.
	_, err := n.Run(t.Context(), "sh", "-euc", "mkdir -p /run/etc; cp -a /etc/pgresync/. /run/etc; mount -t tmpfs tmpfs /etc/pgresync; cp -a /run/etc/. /etc/pgresync; rm -r /run/etc")
	must(t, err)
	return service{unit: readUnit(t, "/usr/lib/systemd/system/pgresync-"+side+".service"), node: n, etc: strings.TrimSuffix(n.SocketDir(), "/run/postgresql") + "/etc/pgresync"}
}

// run starts the unit's program and waits for it to tell that it has started; its log
// is shown when the test fails.
func run(t *testing.T, n *world.Node, side string, s service) *world.Process {
	t.Helper()
	env := s.environment(t)
	env["NOTIFY_SOCKET"] = "/run/notify-" + n.Name
	manager := sidecartest.ListenAt(t, env["NOTIFY_SOCKET"])
	// Whoever the unit's user is.
	must(t, os.Chmod(env["NOTIFY_SOCKET"], 0o666))
	p, err := n.Start(t.Context(), side+"-unit", env, s.argv(t)...)
	must(t, err)
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(n.Out(), side+"-unit.log")); t.Failed() && err == nil {
			t.Logf("%s of %s:\n%s", side, n.Name, log)
		}
	})
	manager.Hears("READY=1")
	return p
}

func newWorld(t *testing.T) *world.World {
	t.Helper()
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2"}, Bin: os.Getenv("LAB_IN"), Out: os.Getenv("LAB_OUT"), Broker: true})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

func streams(t *testing.T, primary, standby *world.Node) {
	t.Helper()
	ctx := t.Context()
	_, err := primary.SQL(ctx, "create table if not exists rows (id int); insert into rows values (1)")
	must(t, err)
	must(t, world.Until(ctx, "the standby to stream", 5*time.Minute, func(ctx context.Context) (bool, string) {
		got, err := standby.SQL(ctx, "select status from pg_stat_wal_receiver; select count(*) from rows")
		if err != nil {
			return false, err.Error()
		}
		return got == "streaming\n1", got
	}))
}

func removed(t *testing.T, standby *world.Node) {
	t.Helper()
	shell(t, "dpkg -r pgresync")
	if got := shell(t, "ls /etc/pgresync; command -v primary-sidecar || true"); got != "pgresync.env\nprimary.env\nsecondary.env" {
		t.Errorf("after the removal: %s", got)
	}
	shell(t, "dpkg --purge pgresync")
	if got := shell(t, "ls -d /etc/pgresync 2>/dev/null || true; getent passwd pgresync | cut -d: -f1"); got != "pgresync" {
		t.Errorf("after the purge: %q, want no configuration, and the user", got)
	}
	if got, err := standby.Run(t.Context(), "zfs", "list", "-H", "-o", "name", standby.Live(), standby.Pool()+"/pgresync/"+world.Cluster); err != nil {
		t.Errorf("the data after the purge: %q, %v", got, err)
	}
}

func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
