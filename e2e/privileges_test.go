package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/command"
)

// account is the operating system user and the role of docs/unprivileged.md.
const account = "pgresync"

// asAccount is argv as a service of that user runs it.
func asAccount(argv ...string) []string {
	return append([]string{
		"setpriv", "--reuid=" + account, "--regid=" + account, "--clear-groups",
		"--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--",
	}, argv...)
}

// privileged is the stage of the tests below.
type privileged struct {
	w        *world.World
	db1, db2 *world.Node
	page     string
	bin, out string
	// env is the primary sidecar's, standby the secondary's, desk the operator's.
	env, standby, desk map[string]string
	// refused is what was tried in vain.
	refused []string
}

// TestPrivileges sets both sidecars up by the commands of docs/unprivileged.md,
// resyncs a standby, and tries what must not be possible.
func TestPrivileges(t *testing.T) {
	failures := sayAgain(t)
	p := newPrivileged(t)
	failures.all(t, []step{
		{"the commands of the page are enough, and doctor agrees", p.documentedCommands},
		{"keys are made, pinned and demanded", p.keys},
		{"a seed and an increment", p.seedAndIncrement},
		{"each permission is needed, and doctor names those that are missing", p.eachIsNeeded},
		{"ZFS refuses what is not delegated", p.zfsRefuses},
		{"the operating system keeps the data from it", p.systemRefuses},
		{"PostgreSQL refuses what is not granted", p.postgresRefuses},
		{"what destroy cannot be kept from ends at the live datasets", p.liveSurvivesDestroy},
	})
	t.Logf("refused to user and role %s:\n%s", account, strings.Join(p.refused, "\n"))
	must(t, os.WriteFile(filepath.Join(p.out, "refused.txt"), []byte(strings.Join(p.refused, "\n")+"\n"), 0o600))
}

func newPrivileged(t *testing.T) *privileged {
	t.Helper()
	bin, out := requireLab(t)
	page, err := os.ReadFile(filepath.Join(bin, "unprivileged.md"))
	must(t, err)
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2"}, Bin: bin, Out: out, Tail: tail, Broker: true})
	must(t, err)
	p := &privileged{w: w, db1: w.Node("db1"), db2: w.Node("db2"), page: string(page), bin: bin, out: out, env: map[string]string{
		"PGRESYNC_PG_CONNINFO": "host=/run/postgresql user=" + account + " dbname=postgres",
	}}
	t.Cleanup(func() {
		must(t, w.Close())
		_ = command.Command{Path: "userdel", Args: []string{account}}.Run(context.WithoutCancel(t.Context())) // there is none after an early failure
	})
	must(t, p.db1.InitPrimary(t.Context()))
	must(t, p.db1.Fill(t.Context(), scale, 8<<20))
	must(t, p.db1.Restrict(t.Context()))
	pool := p.db1.Pool()
	for _, argv := range [][]string{
		{"zfs", "create", "-o", "mountpoint=/srv/other", pool + "/other"},
		{"sh", "-c", "umask 077; echo secret >/srv/other/secret"},
		{"zfs", "snapshot", pool + "/other@s"},
		{"zfs", "create", "-o", "mountpoint=none", pool + "/apart"},
	} {
		run(t, p.db1, argv...)
	}
	return p
}

// keys turns signatures and encryption on, and leaves the sidecars nothing to warn of.
func (p *privileged) keys(t part) {
	sign := func(n *world.Node, verb, file string) string {
		return run(t, n, filepath.Join(p.bin, "pgresync-sign"), verb, file)
	}
	publisher := sign(p.db1, "key", "/run/pgresync/signing.seed")
	run(t, p.db1, "chown", account, "/run/pgresync/signing.seed")
	operator := sign(p.db1, "key", "/run/pgresync/operator.seed")
	p.standby = map[string]string{
		"PGRESYNC_TRUSTED_KEYS": publisher, "PGRESYNC_TRIGGER_KEYS": operator, "PGRESYNC_UNSIGNED": "", "PGRESYNC_IDENTITY_FILE": "/run/pgresync/identity",
	}
	maps.Copy(p.env, map[string]string{
		"PGRESYNC_SIGNING_SEED_FILE": "/run/pgresync/signing.seed", "PGRESYNC_TRUSTED_KEYS": publisher, "PGRESYNC_TRIGGER_KEYS": operator, "PGRESYNC_UNSIGNED": "",
		"PGRESYNC_RECIPIENTS": sign(p.db2, "identity", "/run/pgresync/identity"),
	})
	p.desk = map[string]string{"PGRESYNC_TRUSTED_KEYS": publisher, "PGRESYNC_OPERATOR_SEED_FILE": "/run/pgresync/operator.seed"}
}

// operate runs the operator's command on db1.
func (p *privileged) operate(t testing.TB, env map[string]string, args ...string) (string, error) {
	t.Helper()
	argv := []string{"env", "PGRESYNC_CLUSTER=" + world.Cluster, "PGRESYNC_NATS_URL=" + p.w.BrokerURL()}
	for key, value := range env {
		argv = append(argv, key+"="+value)
	}
	return p.db1.Run(t.Context(), append(append(argv, filepath.Join(p.bin, "pgresync")), args...)...)
}

// block is a code block of the page, with the world's names in it.
func (p *privileged) block(t testing.TB, heading, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(p.page, "\n## "+heading+"\n")
	_, rest, ok2 := strings.Cut(rest, "```"+language+"\n")
	text, _, ok3 := strings.Cut(rest, "\n```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("docs/unprivileged.md has no %s block below %q", language, heading)
	}
	return strings.ReplaceAll(text, "tank/pg", p.db1.Live())
}

func (p *privileged) documentedCommands(t part) {
	run(t, p.db1, "sh", "-eu", "-c", p.block(t, "The primary sidecar", "sh"))
	allowed := run(t, p.db1, "zfs", "allow", p.db1.Live())
	t.Log(allowed)
	must(t, os.WriteFile(filepath.Join(p.out, "allow.txt"), []byte(allowed+"\n"), 0o600))
	p.captureDelegations(t)
	if out := p.doctor(t); !well(out) {
		t.Errorf("doctor does not agree with its own page:\n%s", out)
	} else {
		t.Log(out)
	}
}

// captureDelegations has every form of zfs allow's output written down; the
// parser's test is made of it.
func (p *privileged) captureDelegations(t part) {
	d := p.db1.Pool() + "/apart/my pg"
	run(t, p.db1, "zfs", "create", "-u", d)
	for _, args := range [][]string{
		{"-s", "@look", "send,hold", d},
		{"-s", "@sync", "@look,snapshot", d},
		{"-l", "-u", "postgres", "mount", d},
		{"-u", "postgres", "bookmark,userprop", d},
		{"-u", account, "@sync", d},
		{"-g", "postgres", "destroy", d},
		{"-e", "release", d},
		{"-d", "-u", "postgres", "create", d},
		{"-c", "rename", d},
		{"-l", "-u", "postgres", "clone", p.db1.Pool() + "/apart"},
		{"-u", "postgres", "rollback", p.db1.Pool() + "/apart"},
		{"-d", "-u", "postgres", "quota", p.db1.Pool() + "/apart"},
	} {
		run(t, p.db1, append([]string{"zfs", "allow"}, args...)...)
	}
	must(t, os.WriteFile(filepath.Join(p.out, "allow-all-forms.txt"), []byte(run(t, p.db1, "zfs", "allow", d)+"\n"), 0o600))
	run(t, p.db1, "zfs", "destroy", d)
}

// doctor runs the sidecar's own examination as the account.
func (p *privileged) doctor(t testing.TB) string {
	t.Helper()
	argv := []string{"env"}
	env := p.db1.SidecarEnv(world.Primary, p.env)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		argv = append(argv, key+"="+env[key])
	}
	argv = append(argv, filepath.Join(p.bin, world.Primary), "doctor")
	// A node that is not ready is no failure of the command here.
	out, err := p.db1.Run(t.Context(), asAccount(append([]string{"sh", "-c", `"$@" || true`, "doctor"}, argv...)...)...)
	must(t, err)
	return out
}

// capabilities are those that the page leaves to the secondary sidecar.
func (p *privileged) capabilities(t testing.TB) []string {
	t.Helper()
	_, rest, _ := strings.Cut(p.block(t, "The secondary sidecar", "ini"), "CapabilityBoundingSet=")
	line, _, _ := strings.Cut(rest, "\n")
	set := "-all"
	for c := range strings.FieldsSeq(line) {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return []string{"setpriv", "--no-new-privs", "--bounding-set=" + set, "--inh-caps=-all", "--"}
}

func (p *privileged) seedAndIncrement(t part) {
	primary, err := p.db1.StartSidecarUnder(t.Context(), asAccount(), world.Primary, p.env)
	must(t, err)
	secondary, err := p.db2.StartSidecarUnder(t.Context(), p.capabilities(t), world.Secondary, p.standby)
	must(t, err)
	s := &stage{w: p.w, db1: p.db1, db2: p.db2, primary: primary, secondary: map[*world.Node]*world.Process{p.db2: secondary}}
	must(t, p.w.Streaming(t.Context(), patience, p.db1, p.db2))
	s.idle(t, p.db2, patience)
	seed := seedBytes(t, p.db2)
	must(t, p.db1.AddDocuments(t.Context(), 2, 1<<20))
	p.unsignedIsRefused(t, s)
	m := mark(p.db2)
	for _, args := range [][]string{{"snapshot"}, {"resync", "db2"}} {
		if out, err := p.operate(t, p.desk, args...); err != nil {
			t.Fatalf("pgresync %s, signed: %v\n%s", args, err, out)
		}
	}
	s.until(t, p.db2, m, patience, "proof", proven)
	if got := bytesOf(t, p.db2, m, "increment", "none"); got == 0 || got > seed/2 {
		t.Errorf("the increments moved %.0f bytes, the seed had moved %.0f", got, seed)
	}
	must(t, p.w.Streaming(t.Context(), patience, p.db1, p.db2))
	_, err = p.w.SameRows(t.Context(), patience, nil, p.db1, p.db2)
	must(t, err)
	p.confined(t)
	for _, process := range []*world.Process{secondary, primary} {
		must(t, process.Stop())
	}
}

// unsignedIsRefused: neither the operator's command nor a trigger is obeyed without
// the key; with it, a trigger is.
func (p *privileged) unsignedIsRefused(t part, s *stage) {
	t.Helper()
	for _, args := range [][]string{{"snapshot"}, {"resync", "db2"}, {"pause", "db2", "--reason", "evil"}} {
		if _, err := p.operate(t, map[string]string{}, args...); err == nil {
			t.Errorf("pgresync %s was obeyed without a signature", args)
		} else {
			p.note("pgresync "+strings.Join(args, " ")+", unsigned", err)
		}
	}
	m := mark(p.db2)
	const subject = "pgresync.main.trigger.resync.db2"
	_, err := p.w.NATS(t.Context(), "pub", subject, "")
	must(t, err)
	s.until(t, p.db2, m, patience, "the refusal of an unsigned trigger", func(l world.Line) bool {
		return strings.Contains(l.Str("error"), "not signed by a trusted key")
	})
	body := run(t, p.db1, filepath.Join(p.bin, "pgresync-sign"), "trigger", "/run/pgresync/operator.seed", subject)
	_, err = p.w.NATS(t.Context(), "pub", subject, body)
	must(t, err)
	s.until(t, p.db2, m, patience, "proof of the resync by a signed trigger", proven)
}

// confined: what arrived on the standby cannot run.
func (p *privileged) confined(t part) {
	root := p.db2.Pool() + "/pgresync/" + world.Cluster
	for _, d := range []string{root, p.db2.Live()} {
		out := run(t, p.db2, "zfs", "get", "-H", "-r", "-t", "filesystem", "-o", "name,property,value", "setuid,devices,exec", d)
		for line := range strings.SplitSeq(out, "\n") {
			if !strings.HasSuffix(line, "\toff") {
				t.Errorf("a received dataset may run what it brings: %s", line)
			}
		}
	}
}

// eachIsNeeded takes one permission after the other away, and then all of them.
func (p *privileged) eachIsNeeded(t part) {
	live := p.db1.Live()
	permissions := strings.Split("snapshot,hold,release,bookmark,send,destroy,mount,userprop", ",")
	if _, err := p.db1.Run(t.Context(), asAccount("sh", "-eu", "-c", work(live))...); err != nil {
		t.Fatalf("with all permissions: %v", err)
	}
	for _, permission := range permissions {
		run(t, p.db1, "zfs", "unallow", "-u", account, permission, live)
		if _, err := p.db1.Run(t.Context(), asAccount("sh", "-eu", "-c", work(live))...); err == nil {
			t.Errorf("everything worked without %s: it is not needed", permission)
		} else {
			p.note("without "+permission, err)
		}
		run(t, p.db1, "zfs", "allow", "-u", account, permission, live)
		_, err := p.db1.Run(t.Context(), "sh", "-c", tidy(live))
		must(t, err)
	}
	run(t, p.db1, "zfs", "unallow", "-u", account, live)
	sql(t, p.db1, `revoke pg_monitor from pgresync; revoke execute on function pg_backup_start(text, boolean), pg_backup_stop(boolean) from pgresync; alter role pgresync noreplication`)
	out := p.doctor(t)
	if well(out) {
		t.Errorf("without any rights, doctor says:\n%s", out)
	}
	for _, remedy := range []string{
		"zfs allow -u pgresync snapshot,hold,release,bookmark,send,destroy,mount,userprop " + live,
		`ALTER ROLE "pgresync" REPLICATION`, `GRANT pg_monitor TO "pgresync"`,
		`GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO "pgresync"`,
		`GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop(boolean) TO "pgresync"`,
	} {
		if !strings.Contains(out, remedy) {
			t.Errorf("doctor does not say %q", remedy)
		}
		if strings.HasPrefix(remedy, "zfs") {
			run(t, p.db1, strings.Fields(remedy)...)
		} else {
			sql(t, p.db1, remedy)
		}
	}
	if out := p.doctor(t); !well(out) {
		t.Errorf("after all that doctor said:\n%s", out)
	}
}

// well: doctor found no error.
func well(out string) bool {
	return strings.Contains(out, "delegation") && !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.HasPrefix(line, "error ") })
}

// work is all that the primary sidecar does with ZFS.
func work(live string) string {
	return strings.NewReplacer("LIVE", live).Replace(`
zfs snapshot -r -o pgresync:probe=1 LIVE@probe1
zfs hold probe LIVE@probe1
zfs set pgresync:probe=2 LIVE@probe1
zfs bookmark LIVE@probe1 LIVE#probe
zfs snapshot -o pgresync:probe=1 LIVE@probe2
zfs send -L -c -e -i LIVE#probe LIVE@probe2 >/dev/null
zfs release probe LIVE@probe1
zfs destroy LIVE@probe2
for d in LIVE LIVE/ts1 LIVE/wal; do zfs destroy $d@probe1; done
zfs destroy LIVE#probe
`)
}

func tidy(live string) string {
	return strings.NewReplacer("LIVE", live).Replace(`exec 2>/dev/null
zfs release probe LIVE@probe1
zfs destroy LIVE@probe2
zfs destroy -r LIVE@probe1
zfs destroy LIVE#probe
true`)
}

func (p *privileged) note(what string, err error) {
	text := err.Error()
	if i := strings.LastIndex(text, "exit status "); i >= 0 {
		text = text[i:] // what comes before is how it was run
	}
	p.refused = append(p.refused, fmt.Sprintf("%s: %s", what, strings.TrimSpace(text)))
}
