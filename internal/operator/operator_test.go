package operator_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func identity(role messages.Role, tl messages.Timeline, lsn messages.LSN) *messages.Identity {
	return &messages.Identity{SystemID: 1, Role: role, Timeline: messages.TimelineHistory{Current: tl}, LSN: lsn}
}

func sidecar(n messages.NodeName, name string, change func(*messages.NodeStatus)) operator.Sidecar {
	s := messages.NodeStatus{V: 1, Cluster: "main", Node: n, Sidecar: name, Version: "1.0.0", At: now, Role: messages.RoleDown}
	if change != nil {
		change(&s)
	}
	return operator.Sidecar{NodeStatus: s}
}

func standby(n messages.NodeName, tl messages.Timeline, lsn messages.LSN, change func(*messages.NodeStatus)) operator.Sidecar {
	return sidecar(n, "secondary", func(s *messages.NodeStatus) {
		s.Role, s.Identity, s.Phase = messages.RoleStandby, identity(messages.RoleStandby, tl, lsn), messages.PhaseIdle
		s.Verdict, s.Reason, s.Evidence = messages.VerdictHealthy, messages.ReasonStreaming, "a wal receiver streams"
		if change != nil {
			change(s)
		}
	})
}

func cluster(more ...operator.Sidecar) *operator.Facts {
	return &operator.Facts{
		At: now, Lease: &messages.Lease{Node: "db1", Timeline: 2, LSN: 900},
		Sidecars: append([]operator.Sidecar{sidecar("db1", "primary", func(s *messages.NodeStatus) {
			s.Role, s.Identity, s.Base = messages.RolePrimary, identity(messages.RolePrimary, 2, 1000), messages.NewSnapshotID(now.Add(-time.Hour))
		})}, more...),
		Seen: map[messages.NodeName]time.Time{},
	}
}

func TestRowsPutBothSidecarsOfANodeTogether(t *testing.T) {
	f := cluster(
		// The publisher's own secondary sidecar, which is not on duty.
		sidecar("db1", "secondary", func(s *messages.NodeStatus) {
			s.Role, s.Phase, s.Verdict, s.Reason = messages.RolePrimary, messages.PhaseIdle, messages.VerdictWait, messages.ReasonPromoted
		}),
		sidecar("a-standby", "primary", func(s *messages.NodeStatus) { s.Role = messages.RoleStandby }),
		standby("a-standby", 2, 400, nil),
	)
	rows := operator.Rows(f)
	if len(rows) != 2 || rows[0].Node != "db1" || rows[0].State != operator.StatePublishing || !rows[0].Publisher || rows[0].Attention != "" {
		t.Fatalf("rows %+v, want the publisher first and at ease", rows)
	}
	if at := now.Add(-time.Hour); !rows[0].BaseAt.Equal(at) {
		t.Errorf("base at %s, want %s", rows[0].BaseAt, at)
	}
	r := rows[1]
	if r.Role != messages.RoleStandby || r.State != "idle" || r.Lag == nil || *r.Lag != 600 || r.Timeline != 2 || r.Attention != "" || len(r.Versions) != 2 {
		t.Errorf("standby %+v", r)
	}
}

func TestRowsSayWhatNeedsAttention(t *testing.T) {
	for name, tt := range map[string]struct {
		sidecar operator.Sidecar
		state   string
		want    string
	}{
		"nothing": {standby("db2", 2, 1, nil), "idle", ""},
		"paused": {standby("db2", 2, 1, func(s *messages.NodeStatus) {
			s.Paused = &messages.Pause{By: "dba", Reason: "disk", At: now}
		}), "idle", "paused since 2026-11-22 10:00Z by dba: disk"},
		"needs its operator, however paused it is": {standby("db2", 2, 1, func(s *messages.NodeStatus) {
			s.Phase, s.Paused = messages.PhaseNeedsOperator, &messages.Pause{At: now}
			s.Last = &messages.ResyncReport{Error: "no space", Remedy: "add a disk"}
		}), "needs-operator", "its resync needs an operator: no space (add a disk)"},
		"diverged": {standby("db2", 2, 1, func(s *messages.NodeStatus) {
			s.Verdict, s.Evidence = messages.VerdictResync, "past the fork"
		}), "idle", "past the fork"},
		"data set aside": {standby("db2", 2, 1, func(s *messages.NodeStatus) {
			s.Kept = []messages.Dataset{"tank/pg.pgresync-diverged-1"}
		}), "idle", "1 datasets were set aside for you: [tank/pg.pgresync-diverged-1]"},
		"silent": {operator.Sidecar{NodeStatus: standby("db2", 2, 1, nil).NodeStatus, Silent: "timeout"}, "silent", "its sidecar does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			r := operator.Rows(cluster(tt.sidecar))[1]
			if r.State != tt.state || r.Attention != tt.want {
				t.Errorf("state %q, attention %q; want %q, %q", r.State, r.Attention, tt.state, tt.want)
			}
		})
	}
}

func TestAVerdictFromBeforeIsNoneDuringAResync(t *testing.T) {
	at := func(v messages.Verdict, p messages.Phase) messages.Verdict {
		return operator.Rows(cluster(standby("db2", 2, 1, func(s *messages.NodeStatus) { s.Verdict, s.Phase = v, p })))[1].Verdict
	}
	if got := at(messages.VerdictHealthy, messages.PhaseSwitching); got != "" {
		t.Errorf("verdict %q of a standby that is being switched, want none", got)
	}
	if got := at(messages.VerdictResync, messages.PhaseSwitching); got != messages.VerdictResync {
		t.Errorf("verdict %q, want the one that began the resync", got)
	}
	if got := at(messages.VerdictHealthy, messages.PhaseWaiting); got != messages.VerdictHealthy {
		t.Errorf("verdict %q while it waits, want the one of now", got)
	}
}

func TestANodeThatIsGoneIsShown(t *testing.T) {
	f := cluster()
	f.Seen["db9"] = now.Add(-3 * time.Minute)
	rows := operator.Rows(f)
	if len(rows) != 2 || rows[1].State != operator.StateAbsent || rows[1].Attention != "no sidecar of it is present, last heard of 3m0s ago" {
		t.Errorf("rows %+v", rows)
	}
}

func TestLagIsToldOnOneTimelineOnly(t *testing.T) {
	if r := operator.Rows(cluster(standby("db2", 1, 400, nil)))[1]; r.Lag != nil {
		t.Errorf("lag %d on another timeline", *r.Lag)
	}
}

func TestProgress(t *testing.T) {
	for name, tt := range map[string]struct {
		t           *messages.TransferReport
		share, rate float64
		left        time.Duration
	}{
		"no transfer":                {nil, 0, 0, 0},
		"half":                       {&messages.TransferReport{Bytes: 500, Estimate: 1000, Millis: 5000}, 0.5, 100, 5 * time.Second},
		"unknown size":               {&messages.TransferReport{Bytes: 500, Millis: 5000}, 0, 100, 0},
		"more than estimated":        {&messages.TransferReport{Bytes: 1500, Estimate: 1000, Millis: 1000}, 1, 1500, 0},
		"the reader's own reckoning": {&messages.TransferReport{Bytes: 500, Estimate: 1000, Millis: 5000, Rate: 250, LeftMillis: 3000}, 0.5, 250, 3 * time.Second},
		"just begun":                 {&messages.TransferReport{Estimate: 1000}, 0, 0, 0},
	} {
		share, rate, left := operator.Progress(tt.t)
		if share != tt.share || rate != tt.rate || left != tt.left {
			t.Errorf("%s: %v, %v, %v", name, share, rate, left)
		}
	}
}

// answers is a cluster whose db2 goes through statuses, one per request.
type answers struct {
	operator.Cluster
	statuses []messages.NodeStatus
	next     int
}

func (a *answers) Operate(context.Context, messages.NodeName, string, messages.OperatorVerb, messages.OperatorRequest) (*messages.OperatorReply, error) {
	st := a.statuses[min(a.next, len(a.statuses)-1)]
	a.next++
	if st.Node == "" {
		return nil, messages.ErrUnavailable
	}
	return &messages.OperatorReply{Status: &st}, nil
}

func phases(ps ...messages.Phase) *answers {
	a := &answers{}
	for _, p := range ps {
		st := messages.NodeStatus{Node: "db2", Phase: p, Last: &messages.ResyncReport{ID: "r1", Phase: p, Error: "broken"}}
		if p == "" {
			st = messages.NodeStatus{}
		}
		a.statuses = append(a.statuses, st)
	}
	return a
}

func TestWaitSeesAResyncToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		c    *answers
		want error
		told []messages.Phase
	}{
		"to success, over a restart of the sidecar": {
			phases("planning", "receiving", "", "receiving", "proving", "idle"),
			nil,
			[]messages.Phase{"planning", "receiving", "proving", "idle"},
		},
		"over a failure that is tried again": {phases("receiving", "waiting", "receiving", "idle"), nil, []messages.Phase{"receiving", "waiting", "receiving", "idle"}},
		"to needs-operator":                  {phases("receiving", "needs-operator"), operator.ErrFailed, []messages.Phase{"receiving", "needs-operator"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []messages.Phase
				err := operator.Wait(t.Context(), tt.c, "db2", "r1", func(s messages.NodeStatus) { told = append(told, s.Phase) })
				if !errors.Is(err, tt.want) || tt.want != nil && !strings.Contains(err.Error(), "broken") {
					t.Errorf("got %v, want %v with the cause", err, tt.want)
				}
				if diff := cmp.Diff(tt.told, told); diff != "" {
					t.Errorf("phases (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := operator.Wait(ctx, phases("receiving"), "db2", "r1", func(messages.NodeStatus) {})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "receiving now") {
			t.Errorf("got %v", err)
		}
	})
}

// quiet is a cluster in which nobody is present and events do not come in time.
type quiet struct {
	operator.Cluster
	err error
}

func (quiet) Nodes(context.Context) ([]messages.NodeStatus, error) { return nil, nil }

func (q quiet) LastSeen(context.Context) (map[messages.NodeName]time.Time, error) { return nil, q.err }

func (quiet) Lease(context.Context) (messages.Lease, uint64, error) {
	return messages.Lease{Node: "db1"}, 1, nil
}

func (quiet) Streams(context.Context) ([]messages.StreamRecord, error) { return nil, nil }

func TestGatherShowsWhatThereIsWithoutTheEvents(t *testing.T) {
	for _, err := range []error{messages.ErrPermission, messages.ErrUnavailable} {
		f, got := operator.Gather(t.Context(), quiet{err: err}, now)
		if got != nil || f.Lease == nil || f.Lease.Node != "db1" {
			t.Errorf("%v: facts %+v, error %v", err, f, got)
		}
	}
	broken := errors.New("broken")
	if _, err := operator.Gather(t.Context(), quiet{err: broken}, now); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
