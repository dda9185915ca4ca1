package e2e

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestEncryptedDatasets: an encrypted dataset is sent raw. A standby receives what
// it cannot read, asks its operator for the key, and does without him once it is
// loaded.
func TestEncryptedDatasets(t *testing.T) {
	s := newPair(t, world.Options{Encrypted: true})
	must(t, s.db1.InitPrimary(t.Context()))
	must(t, s.db1.Fill(t.Context(), scale, 8<<20))
	s.startPrimary(t, nil)
	s.sidecar(t, s.db2, world.Secondary, nil)

	s.until(t, s.db2, 0, patience, "the call for the key", entered("needs-operator"))
	lineage := s.db2.Pool() + "/pgresync/" + world.Cluster + "/data"
	s.keyIs(t, lineage, "unavailable")
	failed := s.until(t, s.db2, 0, patience, "the reason", func(l world.Line) bool { return l.Message == "resync: phase failed" })
	if remedy := failed.Str("remedy"); !strings.Contains(remedy, "zfs load-key '"+lineage+"'") {
		t.Errorf("remedy: %q, want the command that loads the key of %s", remedy, lineage)
	}
	key := run(t, s.db1, "base64", "-w0", world.KeyFile)
	run(t, s.db2, "sh", "-c", "echo "+key+" | base64 -d > "+world.KeyFile)
	for line := range strings.SplitSeq(run(t, s.db2, "zfs", "list", "-H", "-r", "-o", "name,encryptionroot", lineage), "\n") {
		if name, root, _ := strings.Cut(line, "\t"); name == root {
			run(t, s.db2, "zfs", "load-key", "-L", "file://"+world.KeyFile, name)
		}
	}
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	for _, p := range passes(s.db2, m) {
		if p.Str("kind") == "seed" {
			t.Errorf("what was received had to travel once more: %v", p)
		}
	}
	s.sameRows(t)

	must(t, s.db1.AddDocuments(t.Context(), 2, 1<<20))
	must(t, s.db2.Unplug(t.Context()))
	must(t, s.db1.LoseSlot(t.Context(), s.db2))
	m = mark(s.db2)
	must(t, s.db2.Plug(t.Context()))
	s.until(t, s.db2, m, patience, "proof", proven)
	bytesOf(t, s.db2, m, "increment", "none")
	s.sameRows(t)
	for _, d := range []string{s.db2.Live(), s.db2.Live() + "/ts1", s.db2.Live() + "/wal"} {
		s.keyIs(t, d, "available")
	}
}

// keyIs fails unless the dataset is encrypted and its key is so.
func (s *stage) keyIs(t testing.TB, dataset, want string) {
	t.Helper()
	got := strings.Fields(run(t, s.db2, "zfs", "get", "-H", "-o", "value", "encryption,keystatus", dataset))
	if len(got) != 2 || got[0] == "off" || got[1] != want {
		t.Errorf("%s: encryption and key are %v, want it encrypted and the key %s", dataset, got, want)
	}
}

func (s *stage) sameRows(t testing.TB) {
	t.Helper()
	must(t, s.w.Streaming(t.Context(), patience, s.db1, s.db2))
	_, err := s.w.SameRows(t.Context(), patience, nil, s.db1, s.db2)
	must(t, err)
}
