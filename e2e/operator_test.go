package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// theOperatorsCommand: what a DBA types. The same endpoints answer the stock
// command.
func (s *stage) theOperatorsCommand(t part) {
	s.ready(t)
	must(t, s.db1.AddDocuments(t.Context(), 7, 1<<20))
	watch, err := s.w.FollowPgresync(t.Context(), watchLog, "status", "--watch", "--interval", "5s")
	must(t, err)
	t.Cleanup(watch.Kill9)
	must(t, world.Until(t.Context(), "three nodes to be well", patience, func(context.Context) (bool, string) {
		out, err := s.w.Pgresync(t.Context(), "status", "--check")
		return err == nil && strings.Count(out, "\ndb") == 3, fmt.Sprint(out, err)
	}))
	s.says(t, []string{"snapshot"}, "snapshot")
	plan := s.says(t, []string{"resync", "db2", "--dry-run"}, "increment")
	t.Log(plan)
	s.says(t, []string{"pause", "db3", "--reason", "a new disk"}, "db3")
	s.says(t, []string{"status"}, "paused", "a new disk")
	m := mark(s.db2)
	s.says(t, []string{"resync", "db2", "--wait"}, "db2")
	s.until(t, s.db2, m, patience, "proof", proven)
	bytesOf(t, s.db2, m, "increment", "none")
	s.says(t, []string{"resume", "db3"}, "db3")
	s.says(t, []string{"history", "db2"}, "db2")
	s.says(t, []string{"events", "--since", "1h"}, "rejoined")
	s.says(t, []string{"streams"})
	s.says(t, []string{"cleanup", "--dry-run"})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"micro", "ls"}, "pgresync-operator"},
		{[]string{"micro", "info", "pgresync-operator"}, "pgresync.main.op."},
		{[]string{"req", "pgresync.main.op.db2.secondary.status", ""}, `"ok":true`},
	} {
		out, err := s.w.NATS(t.Context(), c.args...)
		if err != nil || !strings.Contains(strings.ReplaceAll(out, `": `, `":`), c.want) {
			t.Errorf("nats %s: want %q in:\n%s\n%v", strings.Join(c.args, " "), c.want, out, err)
		}
	}
	s.wellWithin(t)
	s.watched(t)
}

// watchLog is where what status --watch prints goes.
const watchLog = "status-watch"

// watched is whether who watched saw db2 in a phase of its resync.
func (s *stage) watched(t testing.TB) {
	t.Helper()
	seen, err := os.ReadFile(filepath.Join(s.out, "bridge", watchLog+".log"))
	must(t, err)
	if !regexp.MustCompile(`(?m)^db2 +standby +(receiving|staging|stopping|switching|starting|proving) `).Match(seen) {
		t.Errorf("status --watch showed no resync of db2:\n%s", seen)
	}
}

// says runs pgresync, which must succeed and say all of what is wanted.
func (s *stage) says(t testing.TB, args []string, want ...string) string {
	t.Helper()
	out, err := s.w.Pgresync(t.Context(), args...)
	if err != nil {
		t.Errorf("pgresync %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("pgresync %s: want %q in:\n%s", strings.Join(args, " "), w, out)
		}
	}
	return out
}
