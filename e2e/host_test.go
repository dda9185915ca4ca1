package e2e

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestHost is about what is peculiar to a standby's host: where the configuration
// lies, who starts and stops PostgreSQL, who is told, who is in the way.
func TestHost(t *testing.T) {
	failures := sayAgain(t)
	s := newPair(t, world.Options{})
	must(t, s.db1.InitPrimary(t.Context()))
	must(t, s.db1.StopServer(t.Context()))
	must(t, s.db1.ConfigureElsewhere(t.Context()))
	must(t, s.db1.StartServer(t.Context()))
	must(t, s.db1.Fill(t.Context(), scale, 4<<20))
	s.startPrimary(t, nil)
	for _, p := range []step{
		{"without its configuration nothing is stopped and nothing started", s.withoutConfiguration},
		{"a seed starts with the configuration of the host", s.withConfiguration},
		{"three commands start and stop it, and hooks are run", s.byCommands},
		{"somebody in the data directory is named before anything is stopped", s.somebodyInTheWay},
		{"received data is kept fresh while all is well", s.tracks},
	} {
		if !failures.run(t, p) {
			t.FailNow() // the next part has nothing to stand on
		}
	}
}

// hostEnv is what a sidecar on such a host is told.
func hostEnv(more map[string]string) map[string]string {
	env := map[string]string{"PGRESYNC_PG_CONFIG_FILE": world.ConfigFile}
	maps.Copy(env, more)
	return env
}

func (s *stage) restart(t testing.TB, env map[string]string) {
	t.Helper()
	if p := s.secondary[s.db2]; p != nil {
		must(t, p.Stop())
	}
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, env)
}

func (s *stage) withoutConfiguration(t part) {
	m := mark(s.db2)
	s.restart(t, nil)
	l := s.until(t, s.db2, m, patience, "a failure", func(l world.Line) bool { return l.Message == "resync: phase failed" })
	if l.Str("phase") != "staging" || !strings.Contains(l.Str("remedy"), "PGRESYNC_PG_CONFIG_FILE") {
		t.Errorf("in phase %s: %s; remedy %q", l.Str("phase"), l.Str("error"), l.Str("remedy"))
	}
	s.until(t, s.db2, m, patience, "the call for an operator", entered("needs-operator"))
}

func (s *stage) withConfiguration(t part) {
	must(t, s.db2.ConfigureElsewhere(t.Context()))
	s.restart(t, hostEnv(nil))
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	if got := sql(t, s.db2, "select current_setting('config_file')||' '||current_setting('data_directory')"); got != world.ConfigFile+" "+world.DataDir {
		t.Errorf("it runs with %s", got)
	}
	bytesOf(t, s.db2, m, "none", "increment") // the data was there
	s.sameRows(t)
}

func (s *stage) byCommands(t part) {
	env, err := s.db2.ControlScripts(t.Context())
	must(t, err)
	for hook, key := range map[string]string{"before": "BEFORE_STOP", "after": "AFTER_REJOIN", "failure": "ON_FAILURE"} {
		path := "/run/postgresql/lab-hook-" + hook
		must(t, s.db2.Write(t.Context(), path, 0o755, "#!/bin/sh\nenv | sort >"+path+".facts\n"))
		env["PGRESYNC_HOOK_"+key] = path
	}
	s.restart(t, hostEnv(env))
	s.idle(t, s.db2, patience)
	must(t, s.db1.AddDocuments(t.Context(), 2, 1<<20))
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	s.idle(t, s.db2, patience)
	s.sameRows(t)
	got, err := s.db2.Controlled(t.Context())
	must(t, err)
	if acts := strings.ReplaceAll(got, "status\n", ""); strings.Count(acts, "stop") != 1 || strings.Count(acts, "start") != 1 {
		t.Errorf("the commands were run for:\n%s", got)
	}
	for hook, want := range map[string][]string{
		"before": {"PGRESYNC_HOOK=before-stop", "PGRESYNC_REASON=requested", "PGRESYNC_NODE=db2"},
		"after":  {"PGRESYNC_HOOK=after-rejoin", "PGRESYNC_DOWN_MS=", "PGRESYNC_SNAPSHOT="},
	} {
		facts := ""
		// The hook is run behind the line that says that it is idle.
		must(t, world.Until(t.Context(), "the facts of hook "+hook, patience, func(ctx context.Context) (bool, string) {
			facts, err = s.db2.Run(ctx, "cat", "/run/postgresql/lab-hook-"+hook+".facts")
			return err == nil && facts != "", facts
		}))
		for _, w := range want {
			if !strings.Contains(facts, w) {
				t.Errorf("hook %s: no %s in\n%s", hook, w, facts)
			}
		}
	}
}

func (s *stage) somebodyInTheWay(t part) {
	since := sql(t, s.db2, "select pg_postmaster_start_time()")
	shell, err := s.db2.Start(t.Context(), "shell", nil, "sh", "-c", "cd "+world.DataDir+"/base && exec sleep 3600")
	must(t, err)
	m := s.trigger(t, s.db2, "")
	l := s.until(t, s.db2, m, patience, "a failure", func(l world.Line) bool { return l.Message == "resync: phase failed" })
	if l.Str("phase") != "staging" || !strings.Contains(l.Str("error"), "sleep") || !strings.Contains(l.Str("remedy"), "sleep") {
		t.Errorf("in phase %s: %s; remedy %q", l.Str("phase"), l.Str("error"), l.Str("remedy"))
	}
	if now := sql(t, s.db2, "select pg_postmaster_start_time()"); now != since {
		t.Error("PostgreSQL was stopped although its mount could not go")
	}
	shell.Kill9()
	s.until(t, s.db2, m, patience, "proof", proven)
	s.idle(t, s.db2, patience)
	s.sameRows(t)
}

func (s *stage) tracks(t part) {
	s.restart(t, hostEnv(map[string]string{"PGRESYNC_TRACK": "interval", "PGRESYNC_TRACK_INTERVAL": "1m"}))
	s.idle(t, s.db2, patience)
	since := sql(t, s.db2, "select pg_postmaster_start_time()")
	must(t, s.db1.AddDocuments(t.Context(), 3, 1<<20))
	pass := s.until(t, s.db2, mark(s.db2), patience, "a pass", func(l world.Line) bool { return l.Message == "pass complete" })
	if pass.Str("kind") != "increment" {
		t.Errorf("a pass of kind %s, want an increment", pass.Str("kind"))
	}
	if now := sql(t, s.db2, "select pg_postmaster_start_time()"); now != since || phase(s.db2) != "idle" {
		t.Errorf("the standby is not as it was: started %s, was %s; phase %s", now, since, phase(s.db2))
	}
}
