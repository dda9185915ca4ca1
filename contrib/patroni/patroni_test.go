package patroni

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/progtest"
)

// The part of patroni.yml that is the lab's.
const labConfig = `
scope: main
name: %[1]s
restapi: {listen: "%[2]s:8008", connect_address: "%[2]s:8008"}
etcd3: {host: "10.77.0.1:2379"}
postgresql:
  listen: "0.0.0.0:5432"
  connect_address: "%[2]s:5432"
  use_unix_socket: true
  use_unix_socket_repl: true
  data_dir: /srv/pg/17
  bin_dir: /usr/lib/postgresql/17/bin
  pgpass: /tmp/pgpass-%[1]s
  authentication: {superuser: {username: postgres}, replication: {username: replicator}}
  parameters: {unix_socket_directories: /run/postgresql, shared_buffers: 64MB, jit: "off"}
  create_replica_methods: [pgresync, basebackup]
  pgresync: {command: %[3]s, keep_data: true}
  basebackup: [{checkpoint: fast}]
`

const patience = 4 * time.Minute

type cluster struct {
	t        *testing.T
	bin      string
	db1, db2 *world.Node
	sidecar  *world.Process // of db2
	manager  *world.Process // Patroni of db2
}

// TestPatroni has Patroni make a replica, make it again after its data were wiped and
// when it is told to, and go on to basebackup when there is no sidecar to ask.
func TestPatroni(t *testing.T) {
	bin, out := os.Getenv("LAB_IN"), os.Getenv("LAB_OUT")
	tools := filepath.Join(bin, "patroni-tools")
	if _, err := os.Stat(filepath.Join(tools, "usr/bin/patroni")); bin == "" || err != nil {
		t.Skip("it needs the lab and Patroni: make test-patroni")
	}
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2"}, Bin: bin, Out: out, Broker: true})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	c := &cluster{t: t, bin: bin, db1: w.Node("db1"), db2: w.Node("db2")}
	c.startPrimary()

	c.startSidecar()
	c.startManager()
	c.created("pgresync", 1)
	c.streams()
	c.proven(1)

	must(t, c.manager.Stop())
	c.run(c.db2, "sh", "-c", "rm -rf /srv/pg/17 /srv/pgwal/wal/*")
	c.startManager()
	c.created("pgresync", 2)
	c.streams()
	c.proven(2)

	c.post("http://" + c.db2.Address() + ":8008/reinitialize")
	c.created("pgresync", 3)
	c.streams()
	c.proven(3)

	must(t, c.sidecar.Stop())
	// The dataset of pg_wal is made anew by each copy, and its root is root's.
	c.run(c.db2, "chown", "postgres:", "/srv/pgwal")
	c.post("http://" + c.db2.Address() + ":8008/reinitialize")
	c.created("basebackup", 1)
	c.streams()
}

// TestTheScriptPassesOnWhatIsTheCommands has the script call something that shows its
// environment and arguments.
func TestTheScriptPassesOnWhatIsTheCommands(t *testing.T) {
	dir := t.TempDir()
	show, settings := filepath.Join(dir, "show"), filepath.Join(dir, "settings")
	must(t, progtest.Write(show, []byte("#!/bin/sh\nenv | grep ^PGRESYNC_\necho \"$@\"\n"), 0o700))
	must(t, os.WriteFile(settings, []byte("PGRESYNC_NODE=db2\nPGRESYNC_PRIMARY_CONNINFO=\"user=replicator host=db1\"\n"), 0o600))
	c := exec.CommandContext(t.Context(), "./pgresync-seed", "--datadir=/srv/pg/17")
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "PGRESYNC_SEED_COMMAND=" + show, "PGRESYNC_ENV_FILES=/nowhere " + settings}
	out, err := c.CombinedOutput()
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(got)
	if want := []string{"PGRESYNC_NODE=db2", "PGRESYNC_PRIMARY_CONNINFO=user=replicator host=db1", "seed --datadir=/srv/pg/17"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func (c *cluster) startPrimary() {
	ctx := c.t.Context()
	must(c.t, c.db1.InitPrimary(ctx))
	// Patroni removes and makes these directories, for basebackup.
	c.run(c.db1, "chown", "postgres:", "/srv/pg", "/srv/pgwal", "/srv/ts1")
	tools := filepath.Join(c.bin, "patroni-tools")
	url := "http://" + c.db1.Address() + ":2379"
	_, err := c.db1.Start(ctx, "etcd", nil, filepath.Join(tools, "usr/bin/etcd"), "--data-dir", "/var/lib/pgresync/etcd",
		"--listen-client-urls", url, "--advertise-client-urls", url)
	must(c.t, err)
	_, err = c.db1.StartSidecar(ctx, world.Primary, nil)
	must(c.t, err)
	c.patroni(c.db1)
	c.until("the first node to lead", func(ctx context.Context) (bool, string) {
		return c.ask(ctx, http.MethodGet, "http://"+c.db1.Address()+":8008/leader", "")
	})
	c.until("the slots to be left alone", func(ctx context.Context) (bool, string) {
		return c.ask(ctx, http.MethodPatch, "http://"+c.db1.Address()+":8008/config", `{"loop_wait": 5, "ignore_slots": [{"type": "physical"}]}`)
	})
	_, err = c.db1.SQL(ctx, "create table rows (id int); insert into rows values (1)")
	must(c.t, err)
}

func (c *cluster) startSidecar() {
	var err error
	c.sidecar, err = c.db2.StartSidecar(c.t.Context(), world.Secondary, map[string]string{"PGRESYNC_AUTO_RESYNC": "false", "PGRESYNC_RESTART": "never"})
	must(c.t, err)
	c.until("the sidecar to read its journal", func(context.Context) (bool, string) {
		return len(c.db2.Logged(world.Secondary, 0, "journal read")) > 0, ""
	})
}

func (c *cluster) startManager() { c.manager = c.patroni(c.db2) }

// patroni starts Patroni as PostgreSQL's user, out of its unpacked packages.
func (c *cluster) patroni(n *world.Node) *world.Process {
	tools, seed := filepath.Join(c.bin, "patroni-tools"), filepath.Join(c.bin, "pgresync-seed")
	config := filepath.Join("/tmp", "patroni-"+n.Name+".yml")
	must(c.t, os.WriteFile(config, fmt.Appendf(nil, labConfig, n.Name, n.Address(), seed), 0o644))
	settings := "PGRESYNC_CLUSTER=" + world.Cluster + "\nPGRESYNC_NODE=" + n.Name + "\nPGRESYNC_DATASET=" + n.Live() +
		"\nPGRESYNC_NATS_URL=nats://pgresync:lab@10.77.0.254:4222\nPGRESYNC_UNSIGNED=documents,triggers\n"
	must(c.t, os.WriteFile("/tmp/seed-"+n.Name+".env", []byte(settings), 0o644))
	env := map[string]string{
		"PYTHONPATH": filepath.Join(tools, "usr/lib/python3/dist-packages"), "LD_LIBRARY_PATH": filepath.Join(tools, "usr/lib/x86_64-linux-gnu"),
		"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "PGRESYNC_ENV_FILES": "/tmp/seed-" + n.Name + ".env", "PGRESYNC_SEED_COMMAND": filepath.Join(c.bin, world.Secondary),
	}
	p, err := n.Start(c.t.Context(), "patroni", maps.Clone(env), world.AsPostgres("python3", filepath.Join(tools, "usr/bin/patroni"), config)...)
	must(c.t, err)
	c.t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(n.Out(), "patroni.log")); c.t.Failed() && err == nil {
			c.t.Logf("Patroni of %s:\n%s", n.Name, log[max(0, len(log)-8000):])
		}
	})
	return p
}

// created waits until Patroni says for the n-th time that it made a replica so.
func (c *cluster) created(method string, n int) {
	c.t.Helper()
	want := "replica has been created using " + method
	c.until(want, func(context.Context) (bool, string) {
		log, err := os.ReadFile(filepath.Join(c.db2.Out(), "patroni.log"))
		return err == nil && bytes.Count(log, []byte(want)) == n, lastLine(string(log))
	})
}

func (c *cluster) streams() {
	c.t.Helper()
	_, err := c.db1.SQL(c.t.Context(), "insert into rows values (1)")
	must(c.t, err)
	want, err := c.db1.SQL(c.t.Context(), "select count(*) from rows")
	must(c.t, err)
	c.until("the replica to stream", func(ctx context.Context) (bool, string) {
		got, err := c.db2.SQL(ctx, "select status, slot_name from pg_stat_wal_receiver; select count(*) from rows")
		if err != nil {
			return false, err.Error()
		}
		// The slot is Patroni's.
		return got == "streaming|db2\n"+want, got
	})
}

// proven waits until the sidecar has seen the n-th copy stream, and has let go of
// what it kept until then.
func (c *cluster) proven(n int) {
	c.t.Helper()
	c.until("the sidecar to see it stream", func(context.Context) (bool, string) {
		seen := 0
		for _, l := range c.db2.Logged(world.Secondary, 0, "resync") {
			if l.Str("on") == "proven" {
				seen++
			}
		}
		return seen == n, fmt.Sprint(seen)
	})
	c.until("the previous copy and our slot to go", func(ctx context.Context) (bool, string) {
		left, err := c.db2.Run(ctx, "sh", "-c", "zfs list -H -o name | grep -E 'pgresync-(old|next)' || true")
		slots, serr := c.db1.SQL(ctx, "select slot_name from pg_replication_slots where slot_name like 'pgresync%'")
		return err == nil && serr == nil && left == "" && slots == "", fmt.Sprint(left, slots, err, serr)
	})
}

func (c *cluster) post(url string) {
	c.t.Helper()
	c.until("POST "+url, func(ctx context.Context) (bool, string) { return c.ask(ctx, http.MethodPost, url, "{}") })
}

func (c *cluster) ask(ctx context.Context, method, url, body string) (bool, string) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return false, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err.Error()
	}
	_ = resp.Body.Close() // nothing of it is needed
	return resp.StatusCode == http.StatusOK, resp.Status
}

func (c *cluster) run(n *world.Node, argv ...string) {
	c.t.Helper()
	_, err := n.Run(c.t.Context(), argv...)
	must(c.t, err)
}

func (c *cluster) until(what string, check func(context.Context) (bool, string)) {
	c.t.Helper()
	must(c.t, world.Until(c.t.Context(), what, patience, check))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
