package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestModes is about a standby whose pool has no room for what comes beside the
// broken live copy.
func TestModes(t *testing.T) {
	failures := sayAgain(t)
	s := newModes(t)
	for _, p := range []step{
		{"side by side, it asks for its operator and keeps what it has", s.sideBySideAsks},
		{"in place, the live copy goes and an increment fits", s.inPlaceFits},
		{"discard-broken, a whole seed fits", s.discardBrokenFits},
	} {
		if !failures.run(t, p) {
			t.FailNow() // the next part has nothing to stand on
		}
	}
}

func newModes(t *testing.T) *stage {
	t.Helper()
	s := newPair(t, world.Options{})
	must(t, s.db1.InitPrimary(t.Context()))
	must(t, s.db1.Fill(t.Context(), scale, 16<<20))
	s.startPrimary(t, nil)
	s.inMode(t, "side-by-side", true)
	must(t, s.w.Streaming(t.Context(), 2*patience, s.db1, s.db2))
	s.idle(t, s.db2, patience)
	run(t, s.db2, "zfs", "set", "com.example:owner=db2", s.db2.Live())
	run(t, s.db2, "sh", "-c", "echo '# of db2 alone' >>"+world.DataDir+"/pg_hba.conf")
	// The live copy goes its own way: this is the room that it can give up.
	must(t, s.db1.AddDocuments(t.Context(), 2, 64<<20))
	s.cutOff(t)
	must(t, s.db1.AddDocuments(t.Context(), 3, 4<<20))
	return s
}

// inMode restarts the standby's sidecar.
func (s *stage) inMode(t testing.TB, mode string, auto bool) {
	t.Helper()
	if p := s.secondary[s.db2]; p != nil {
		must(t, p.Stop())
	}
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, modeEnv(mode, auto))
}

func modeEnv(mode string, auto bool) map[string]string {
	return map[string]string{"PGRESYNC_MODE": mode, "PGRESYNC_AUTO_RESYNC": strconv.FormatBool(auto)}
}

// struckIn waits for a phase, kills the sidecar or resets the node, and starts the
// sidecar again.
func (s *stage) struckIn(t testing.TB, mark int, phase string, reset bool, env map[string]string) {
	t.Helper()
	s.until(t, s.db2, mark, patience, "the phase "+phase, entered(phase))
	if reset {
		must(t, s.db2.PowerOff(t.Context()))
		must(t, s.db2.PowerOn(t.Context()))
	}
	s.secondary[s.db2].Kill9()
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, env)
}

func (s *stage) replayed(t testing.TB) {
	t.Helper()
	must(t, s.db2.Replayed(t.Context(), patience, sql(t, s.db1, "select pg_current_wal_lsn()")))
}

// cutOff breaks the standby for good, and leaves its pool little room. What the
// standby still had to write would take that, sooner or later.
func (s *stage) cutOff(t testing.TB) {
	t.Helper()
	sql(t, s.db1, "checkpoint")
	s.replayed(t)
	sql(t, s.db2, "checkpoint")
	run(t, s.db2, "zpool", "sync", s.db2.Pool())
	must(t, s.db2.Unplug(t.Context()))
	must(t, s.db1.LoseSlot(t.Context(), s.db2))
	const room = 40 << 20
	ballast := s.db2.Pool() + "/ballast"
	if _, err := s.db2.Run(t.Context(), "zfs", "create", "-o", "mountpoint=none", ballast); err != nil {
		run(t, s.db2, "zfs", "set", "refreservation=none", ballast)
	}
	must(t, world.Until(t.Context(), "a full pool", patience, func(ctx context.Context) (bool, string) {
		got, err := s.db2.Run(ctx, "zfs", "get", "-Hp", "-o", "value", "available", s.db2.Pool())
		if err != nil {
			return false, err.Error()
		}
		have, err := strconv.ParseInt(got, 10, 64)
		if err != nil || have < room+(8<<20) {
			return err == nil, fmt.Sprint(got, err)
		}
		reserved, err := s.db2.Run(ctx, "zfs", "get", "-Hp", "-o", "value", "refreservation", ballast)
		n, _ := strconv.ParseInt(reserved, 10, 64) // "none" is 0
		if err == nil {
			_, err = s.db2.Run(ctx, "zfs", "set", fmt.Sprintf("refreservation=%d", n+have-room), ballast)
		}
		return false, fmt.Sprint(got, err)
	}))
}

func (s *stage) sideBySideAsks(t part) {
	m := mark(s.db2)
	guid := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", s.db2.Live())
	must(t, s.db2.Plug(t.Context()))
	s.until(t, s.db2, m, patience, "the call for an operator", entered("needs-operator"))
	if got := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", s.db2.Live()); got != guid {
		t.Errorf("live dataset: got guid %s, want %s, the one before", got, guid)
	}
	if got := sql(t, s.db2, "select pg_is_in_recovery()"); got != "t" {
		t.Errorf("the old copy does not serve: %s", got)
	}
}

func (s *stage) inPlaceFits(t part) {
	m := mark(s.db2)
	s.inMode(t, "in-place", true)
	s.trigger(t, s.db2, "")
	s.struckIn(t, m, "clearing", false, modeEnv("in-place", true))
	s.struckIn(t, m, "discarding", true, modeEnv("in-place", true))
	s.until(t, s.db2, m, patience, "proof", proven)
	bytesOf(t, s.db2, m, "increment", "none")
	s.asItWas(t)
}

func (s *stage) discardBrokenFits(t part) {
	s.inMode(t, "discard-broken", false)
	s.idle(t, s.db2, patience)
	before := run(t, s.db2, "zfs", "list", "-H", "-d", "1", "-o", "guid", s.db2.Pool()+"/pgresync/"+world.Cluster)
	s.cutOff(t)
	must(t, s.db1.AddDocuments(t.Context(), 4, 1<<20))
	m := mark(s.db2)
	must(t, s.db2.Plug(t.Context()))
	s.until(t, s.db2, m, patience, "the verdict", func(l world.Line) bool {
		return l.Message == "verdict" && l.Str("verdict") == "resync"
	})
	m = s.trigger(t, s.db2, `{"full":true}`)
	s.struckIn(t, m, "clearing", true, modeEnv("discard-broken", false))
	s.struckIn(t, m, "discarding", false, modeEnv("discard-broken", false))
	s.until(t, s.db2, m, patience, "proof", proven)
	if got := passes(s.db2, m); len(got) == 0 || got[0].Str("kind") != "seed" {
		t.Errorf("passes: got %v, want a seed", got)
	}
	after := run(t, s.db2, "zfs", "list", "-H", "-d", "1", "-o", "guid", s.db2.Pool()+"/pgresync/"+world.Cluster)
	for guid := range strings.SplitSeq(before, "\n") {
		// The first line is the lineage's root.
		if !strings.HasPrefix(before, guid) && strings.Contains(after, guid) {
			t.Errorf("received data %s is still there: the seed had no need of it", guid)
		}
	}
	s.asItWas(t)
}

// asItWas: what is this node's own has outlived the live copy, and nothing is left.
func (s *stage) asItWas(t part) {
	must(t, s.w.Streaming(t.Context(), patience, s.db1, s.db2))
	s.idle(t, s.db2, patience)
	_, err := s.w.SameRows(t.Context(), patience, nil, s.db1, s.db2)
	must(t, err)
	if got := run(t, s.db2, "zfs", "get", "-H", "-o", "value,source", "com.example:owner", s.db2.Live()); got != "db2\tlocal" {
		t.Errorf("property of the live dataset: got %q, want db2, local", got)
	}
	if got := run(t, s.db2, "cat", world.DataDir+"/pg_hba.conf"); !strings.Contains(got, "# of db2 alone") {
		t.Errorf("pg_hba.conf is not this node's own:\n%s", got)
	}
	must(t, world.Until(t.Context(), "the leftovers to go", patience, func(ctx context.Context) (bool, string) {
		got, err := s.db2.Run(ctx, "zfs", "list", "-H", "-o", "name", "-d", "1", s.db2.Pool())
		return err == nil && !strings.Contains(got, ".pgresync-"), fmt.Sprint(got, err)
	}))
}
