package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

// slowStandbyHarmsNobody: while the uploads wait for a standby that takes little at
// a time, the primary commits, nothing of a backup is open there, and that
// standby's old copy follows and serves.
func (s *stage) slowStandbyHarmsNobody(t part) {
	s.ready(t)
	must(t, s.secondary[s.db2].Stop())
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, map[string]string{"PGRESYNC_RATE_LIMIT": "512KiB/s"})
	must(t, s.db1.AddDocuments(t.Context(), 8, 24<<20))
	s.snapshot(t)
	m := s.trigger(t, s.db2, "")
	s.pausedUpload(t)
	for _, n := range []*world.Node{s.db1, s.db2} {
		before := s.history(t, n)
		must(t, world.Until(t.Context(), n.Name+" to have new rows", patience, func(context.Context) (bool, string) {
			now := s.history(t, n)
			return now >= before+10, fmt.Sprintf("%d of pgbench's rows, %d before", now, before)
		}))
	}
	if got := sql(t, s.db1, "select count(*) from pg_stat_activity where query like '%pg_backup_start%' and pid <> pg_backend_pid()"); got != "0" {
		t.Errorf("%s sessions in backup mode while the upload waits, want none", got)
	}
	if p := phase(s.db2); p != "receiving" {
		t.Errorf("db2 is %s: it was not slow enough to show anything", p)
	}
	must(t, s.secondary[s.db2].Stop())
	s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, s.env(s.db2))
	s.until(t, s.db2, m, patience, "proof", proven)
	s.wellWithin(t)
}

// pausedUpload waits for an upload that waits for its reader.
func (s *stage) pausedUpload(t part) {
	t.Helper()
	must(t, world.Until(t.Context(), "an upload to wait for its reader", patience, func(ctx context.Context) (bool, string) {
		out, err := s.w.Pgresync(ctx, "streams", "-o", "json")
		if err != nil {
			return false, err.Error()
		}
		var streams []messages.StreamRecord
		if err := json.Unmarshal([]byte(out), &streams); err != nil {
			return false, err.Error()
		}
		for _, r := range streams {
			if r.Paused {
				return true, ""
			}
		}
		return false, out
	}))
}

func (s *stage) history(t part, n *world.Node) int {
	t.Helper()
	rows, err := strconv.Atoi(sql(t, n, "select count(*) from pgbench_history"))
	must(t, err)
	return rows
}
