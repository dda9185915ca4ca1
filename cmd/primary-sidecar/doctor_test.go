package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/doctor"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
)

// site is a node with a real PostgreSQL, a real NATS and a fake ZFS.
func site(t *testing.T, props []string, pg pgtest.Options, role string, change ...func(*natsserver.Options)) {
	t.Helper()
	siteOn(t, zfstest.Fake(t), props, pg, role, change...)
}

func siteOn(t *testing.T, zfs *zfstest.Env, props []string, pg pgtest.Options, role string, change ...func(*natsserver.Options)) *pgtest.Cluster {
	t.Helper()
	zfs.InPath(t)
	c := pgtest.New(t, pg)
	c.Exec(t, "CREATE ROLE sync LOGIN")
	live := zfs.Mounted(t, "pg", c.Dir, props...)
	for key, value := range map[string]string{
		"CLUSTER": "main", "UNSIGNED": "documents,triggers", "NODE": "db1", "DATASET": string(live), "ADVERTISE_HOST": "db1.example",
		"NATS_URL": natstest.Run(t, change...).URL(), "NATS_USER": "", "PG_CONNINFO": c.Conninfo(role),
	} {
		t.Setenv("PGRESYNC_"+key, value)
	}
	return c
}

// consult runs doctor as the command does.
func consult(t *testing.T) (code int, findings map[string]doctor.Finding, text string) {
	t.Helper()
	var out, complaints bytes.Buffer
	err := run(t.Context(), []string{"doctor", "-o", "json"}, &out, &complaints)
	var doc struct {
		Ready    bool
		Findings []doctor.Finding
	}
	if jsonErr := json.Unmarshal(out.Bytes(), &doc); jsonErr != nil {
		t.Fatalf("%v: %s%s", jsonErr, out.String(), complaints.String())
	}
	if doc.Ready != (err == nil) {
		t.Errorf("ready %v, error %v", doc.Ready, err)
	}
	findings = map[string]doctor.Finding{}
	for _, f := range doc.Findings {
		// The worst of each check.
		if have, ok := findings[f.Check]; !ok || have.Level == doctor.OK || f.Level == doctor.Error {
			findings[f.Check] = f
		}
	}
	return daemon.ExitCode(err), findings, out.String()
}

func TestDoctorOnAGoodNode(t *testing.T) {
	site(t, []string{"atime=off", "compression=lz4"}, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1GB"}}, pgtest.Superuser)
	code, findings, text := consult(t)
	if code != daemon.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for check, f := range findings {
		// Its WAL is among its data: the only flaw.
		if want := check != "layout"; (f.Level == doctor.OK) != want {
			t.Errorf("%+v", f)
		}
	}
	for check, want := range map[string]string{
		"postgresql": "a primary on timeline 1", "wal_level": "replica", "nats": "answers within", "streams": "will be made", "permissions": "every subject",
	} {
		if !strings.Contains(findings[check].Text, want) {
			t.Errorf("%s: %+v, want %q", check, findings[check], want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"doctor"}, &out, &out); err != nil || !strings.HasPrefix(out.String(), "ok       postgresql   version ") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestDoctorOnABrokenNode(t *testing.T) {
	names := messages.Subjects{Cluster: "main"}
	site(t, []string{"atime=on", "sync=disabled"}, pgtest.Options{Settings: map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}}, "sync",
		func(o *natsserver.Options) {
			o.Users = []*natsserver.User{{Username: "u", Password: "p", Permissions: &natsserver.Permissions{
				Publish: &natsserver.SubjectPermission{Deny: []string{names.Event("*", "db1"), "$O.>"}},
			}}}
		})
	t.Setenv("PGRESYNC_NATS_USER", "u")
	t.Setenv("PGRESYNC_NATS_PASSWORD", "p")
	t.Setenv("PGRESYNC_NATS_PROVISION", "false")
	code, findings, text := consult(t)
	if code != daemon.ExitPrerequisite {
		t.Errorf("exit code %d, want %d", code, daemon.ExitPrerequisite)
	}
	for check, want := range map[string]doctor.Finding{
		"grants":      {Level: doctor.Error, Remedy: `ALTER ROLE "sync" REPLICATION; GRANT pg_monitor TO "sync"; GRANT EXECUTE ON FUNCTION`},
		"wal_level":   {Level: doctor.Error, Remedy: "wal_level = 'replica'"},
		"wal_senders": {Level: doctor.Error, Remedy: "max_wal_senders"},
		"slot_wal":    {Level: doctor.Warning, Remedy: "max_slot_wal_keep_size"},
		"properties":  {Level: doctor.Error, Remedy: "zfs set sync=standard 'fake pool/test"},
		"permissions": {Level: doctor.Error, Remedy: "publish: { allow: "},
		"streams":     {Level: doctor.Error, Text: "nats stream add PGRESYNC_main", Remedy: "PGRESYNC_NATS_PROVISION"},
	} {
		got := findings[check]
		if got.Level != want.Level || !strings.Contains(got.Remedy, want.Remedy) || !strings.Contains(got.Text, want.Text) {
			t.Errorf("%s: got %+v, want %+v", check, got, want)
		}
	}
	if n := strings.Count(text, `"check": "permissions"`); n != 3 {
		t.Errorf("%d findings about permissions, want one for events and two for objects", n)
	}
	if t.Failed() {
		t.Log(text)
	}
}

// Before the first start the embedded server is not there.
func TestDoctorBeforeTheEmbeddedServerRuns(t *testing.T) {
	site(t, []string{"atime=off"}, pgtest.Options{}, pgtest.Superuser)
	t.Setenv("PGRESYNC_NATS_URL", "embedded")
	t.Setenv("PGRESYNC_NATS_LISTEN", fmt.Sprintf("127.0.0.1:%d", pgtest.FreePort(t)))
	code, findings, _ := consult(t)
	if f := findings["nats"]; code != daemon.ExitOK || f.Level != doctor.OK || !strings.Contains(f.Text, "embedded") {
		t.Errorf("exit code %d, %+v", code, f)
	}
}

func TestDoctorRefusesWhatItDoesNotKnow(t *testing.T) {
	for key, value := range map[string]string{"CLUSTER": "main", "UNSIGNED": "documents,triggers", "NODE": "db1", "DATASET": "tank/pg", "ADVERTISE_HOST": "db1"} {
		t.Setenv("PGRESYNC_"+key, value)
	}
	var out, complaints bytes.Buffer
	err := run(t.Context(), []string{"doctor", "now"}, &out, &complaints)
	if daemon.ExitCode(err) != daemon.ExitUsage || out.Len() > 0 || !strings.Contains(complaints.String(), "-o json") {
		t.Errorf("got %v, %q, %q", err, out.String(), complaints.String())
	}
}
