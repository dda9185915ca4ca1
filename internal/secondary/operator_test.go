package secondary

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// opZFS holds one lineage root and its history.
type opZFS struct {
	ZFS
	mu        sync.Mutex
	marks     map[string]string
	history   messages.History
	destroyed []messages.SnapshotName
	asked     []messages.Dataset // by List
}

const opLineage = messages.Dataset("tank/pgresync/main")

func (z *opZFS) List(_ context.Context, d messages.Dataset) ([]messages.DatasetInfo, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = append(z.asked, d)
	switch d {
	case opLineage:
		return []messages.DatasetInfo{
			{Name: d, Marks: maps.Clone(z.marks), Available: 1 << 30},
			{Name: d + "/data"},
		}, nil
	case "tank":
		return []messages.DatasetInfo{{Name: d}}, nil
	}
	return nil, messages.ErrNotFound
}

func (z *opZFS) Survey(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	return z.List(ctx, root)
}

func (z *opZFS) Histories(context.Context, messages.Dataset) (map[messages.Dataset]messages.History, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return map[messages.Dataset]messages.History{opLineage + "/data": z.history}, nil
}

// mark is what a property of ours says; the service may be writing others meanwhile.
func (z *opZFS) mark(key string) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.marks[key]
}

func (z *opZFS) SetProperties(_ context.Context, _ messages.Dataset, props map[string]string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	maps.Copy(z.marks, props)
	return nil
}

func (z *opZFS) InheritProperty(_ context.Context, _ messages.Dataset, key string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.marks, key)
	return nil
}

func (z *opZFS) Release(context.Context, messages.SnapshotName, string) error { return nil }

func (z *opZFS) Bookmark(context.Context, messages.SnapshotName, string) error { return nil }

func (z *opZFS) DestroyDataset(context.Context, messages.Dataset) error { return nil }

func (z *opZFS) DestroySnapshot(_ context.Context, s messages.SnapshotName) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.destroyed = append(z.destroyed, s)
	return nil
}

// opPrimary publishes one snapshot; its data is missing here, so that a node that
// is not paused resyncs at once.
type opPrimary struct {
	Primary
	facts *messages.PrimaryFacts
}

func (p opPrimary) Facts(ctx context.Context) (*messages.PrimaryFacts, error) {
	return p.facts, ctx.Err()
}

func (opPrimary) Slot(context.Context, messages.ResyncID, messages.SlotAction) (messages.SlotState, error) {
	return messages.SlotState{}, messages.ErrUnavailable
}

func (opPrimary) Snapshot(context.Context, messages.LSN, time.Duration) (*messages.Manifest, error) {
	return nil, messages.ErrUnavailable
}

func (p opPrimary) Estimate(_ context.Context, r messages.StreamRequest) (*messages.EstimateReply, error) {
	return &messages.EstimateReply{V: 1, Bytes: uint64(r.To-r.From) * 100, Written: 7}, nil
}

type opDatabase struct{ Database }

func (opDatabase) Identity(context.Context) (messages.Identity, error) {
	return messages.Identity{}, messages.ErrUnavailable
}

type opPostgres struct{ Postgres }

func (opPostgres) Major(context.Context) (int, error) { return 17, nil }

type opHooks struct{}

func (opHooks) Run(context.Context, Hook, map[string]string) error { return nil }

type opAnnouncer struct {
	mu     sync.Mutex
	events []messages.Event
}

func (a *opAnnouncer) Publish(_ context.Context, e messages.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
	return nil
}

func (a *opAnnouncer) told(what messages.EventType) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.events, func(e messages.Event) bool { return e.Type == what })
}

func (a *opAnnouncer) PutStatus(context.Context, messages.NodeStatus) error { return nil }

func opSnapshots(ids ...messages.SnapshotID) (h messages.History) {
	for i, id := range ids {
		h = append(h, messages.Snapshot{Name: opLineage.Child("data").Snapshot(id.ShortName()), GUID: messages.GUID(i + 10), CreateTXG: messages.TXG(i + 1)})
	}
	return h
}

func opFacts(h messages.History) *messages.PrimaryFacts {
	newest := h[len(h)-1]
	id, _ := messages.SnapshotIDOf(newest.Name)
	return &messages.PrimaryFacts{
		V: 1, Cluster: "main", Node: "db1",
		Identity: messages.Identity{SystemID: 5, Version: 170001, Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1}},
		Snapshot: &messages.Manifest{
			ID: id, Cluster: "main", PGVersion: 170001, SystemID: 5,
			Datasets: []messages.ManifestDataset{{GUID: newest.GUID, CreateTXG: newest.CreateTXG, Referenced: 123456, Travels: true, Kind: messages.KindData}},
		},
		Datasets: []messages.DatasetHistory{{History: h}},
	}
}

// opNode is a node whose data is gone. Three snapshots exist, of which it has as
// many as have says.
type opNode struct {
	zfs      *opZFS
	ids      []messages.SnapshotID
	facts    *messages.PrimaryFacts
	announce *opAnnouncer
}

func newOpNode(have int) *opNode {
	now := time.Now()
	n := &opNode{announce: &opAnnouncer{}}
	for i := range 3 {
		n.ids = append(n.ids, messages.NewSnapshotID(now.Add(time.Duration(i)*time.Second)))
	}
	all := opSnapshots(n.ids...)
	n.facts = opFacts(all)
	n.zfs = &opZFS{marks: map[string]string{messages.PropCluster: "main"}, history: all[:have]}
	return n
}

// start runs a new process's service on the node until stop is called.
func (n *opNode) start(t *testing.T) (s *Service, stop func()) {
	t.Helper()
	p := opPrimary{facts: n.facts}
	s = New(Config{
		Cluster: "main", Node: "db2", Dataset: "tank/pg", Lineage: opLineage, AutoResync: true, CheckInterval: 5 * time.Millisecond, KeepPasses: 2,
		Converge: plan.ConvergePolicy{MaxPasses: 3, Short: time.Second},
	}, Deps{
		ZFS: n.zfs, Database: opDatabase{}, Postgres: opPostgres{}, Primary: p, Estimates: p, Hooks: opHooks{}, Announce: n.announce, Now: time.Now, Log: zerolog.Nop(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	return s, stop
}

// paused is a node that was paused before its first process looked around.
func (n *opNode) paused(t *testing.T) *opNode {
	t.Helper()
	packed, err := messages.PackProperty(&messages.PauseRecord{V: 1, Pause: messages.Pause{By: "dba", Reason: "new disk", At: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	n.zfs.marks[messages.PropPaused] = packed
	return n
}

// diagnosed returns when the engine looked around.
func diagnosed(t *testing.T, s *Service) {
	t.Helper()
	eventually(t, "a verdict", func() bool { return s.status().Verdict == messages.VerdictResync })
	// One more round: what a verdict causes comes after it.
	if err := s.between(t.Context(), func(context.Context) error { return nil }); err != nil && !errors.Is(err, messages.ErrBusy) {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited 20 s for %s", what)
		case <-tick.C:
		}
	}
}

func TestAPausedNodeStartsNoResyncAndStaysPausedOverARestart(t *testing.T) {
	n := newOpNode(1).paused(t)
	for range 2 {
		s, stop := n.start(t)
		diagnosed(t, s)
		st := s.status()
		if st.Phase != messages.PhaseIdle || st.Paused == nil || st.Paused.Reason != "new disk" {
			t.Fatalf("phase %s, paused %v; want an idle node that is paused", st.Phase, st.Paused)
		}
		stop()
	}
	s, _ := n.start(t)
	if _, err := s.Resume(t.Context(), messages.OperatorRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the resync that the verdict asks for", func() bool { return s.status().Last != nil })
	if n.zfs.mark(messages.PropPaused) != "" {
		t.Error("the property is still there")
	}
}

// A request that cannot be met is no alarm for ever where the standby is well.
func TestResumeDropsARequestThatStoppedForItsOperator(t *testing.T) {
	n := newOpNode(1).paused(t)
	s, _ := n.start(t)
	diagnosed(t, s)
	id := messages.NewResyncID(time.Now())
	s.mu.Lock()
	s.j = resync.Journal{V: 1, ID: id, Phase: messages.PhaseNeedsOperator, Trigger: true, Reason: messages.ReasonRequested, Error: "no", Remedy: "mend it"}
	s.mu.Unlock()
	reply, err := s.Resume(t.Context(), messages.OperatorRequest{By: "me"})
	if err != nil || !strings.Contains(reply.Text, string(id)) {
		t.Fatalf("got %+v, %v; want to be told of resync %s", reply, err, id)
	}
	if j, err := readJournal(map[string]string{messages.PropJournal: n.zfs.mark(messages.PropJournal)}); err != nil || j.Trigger {
		t.Errorf("on disk: %+v, %v; want no request", j, err)
	}
}

func TestPauseIsWrittenAndAnnounced(t *testing.T) {
	n := newOpNode(1).paused(t)
	s, stop := n.start(t)
	reply, err := s.Pause(t.Context(), messages.OperatorRequest{By: "me", Reason: "other"})
	if err != nil || !strings.Contains(reply.Text, "other") {
		t.Fatalf("got %+v, %v", reply, err)
	}
	stop()
	again, _ := n.start(t)
	if p := again.pausedNow(); p == nil || p.By != "me" || p.Reason != "other" {
		t.Errorf("after a restart: %+v", p)
	}
	eventually(t, "the event", func() bool { return n.announce.told(messages.EventPaused) })
}

func TestAResyncOfAPausedNodeIsRefusedUnlessItResumes(t *testing.T) {
	n := newOpNode(1).paused(t)
	s, _ := n.start(t)
	_, err := s.Resync(t.Context(), messages.OperatorRequest{})
	var remedied interface{ Remedy() string }
	if !errors.Is(err, messages.ErrRefused) || !strings.Contains(err.Error(), "new disk") || !errors.As(err, &remedied) {
		t.Fatalf("got %v, want a refusal with reason and remedy", err)
	}
	target, at := messages.TriggerTarget{Node: "db2"}, time.Now()
	if err := s.Trigger(t.Context(), target, messages.Trigger{V: 1}, at); err != nil {
		t.Errorf("a trigger to a paused node: %v, want it to be acknowledged", err)
	}
	if ph := s.status().Phase; ph != messages.PhaseIdle {
		t.Fatalf("phase %s after the refusals", ph)
	}
	eventually(t, "the refusal's event", func() bool { return n.announce.told(messages.EventRefused) })
	reply, err := s.Resync(t.Context(), messages.OperatorRequest{Resume: true, By: "me"})
	if err != nil || reply.Resync == "" || s.pausedNow() != nil {
		t.Errorf("got %+v, %v, paused %v; want it begun", reply, err, s.pausedNow())
	}
}

func TestADryRunTellsKindAndSizes(t *testing.T) {
	for name, tt := range map[string]struct {
		have          int
		full          bool
		kind          messages.PassKind
		base          int // index of the id, -1 for none
		bytes, since  uint64
		wantObstacles int
	}{
		"an increment from the newest common base": {have: 1, kind: messages.PassIncrement, base: 0, bytes: 200, since: 7, wantObstacles: 1},
		"a seed although there is a base":          {have: 1, full: true, kind: messages.PassSeed, base: -1, bytes: 1200, since: 7, wantObstacles: 1},
		"nothing but what came since":              {have: 3, kind: messages.PassNone, base: -1, bytes: 0, since: 7, wantObstacles: 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newOpNode(tt.have).paused(t)
			s, _ := n.start(t)
			reply, err := s.Resync(t.Context(), messages.OperatorRequest{DryRun: true, Full: tt.full})
			if err != nil {
				t.Fatal(err)
			}
			p := reply.Plan
			base := messages.SnapshotID("")
			if tt.base >= 0 {
				base = n.ids[tt.base]
			}
			if p.Kind != tt.kind || p.Base != base || p.Target != n.ids[2] || p.Bytes != tt.bytes || p.Since != tt.since || p.Available != 1<<30 {
				t.Errorf("plan %+v", p)
			}
			if len(p.Obstacles) != tt.wantObstacles || !strings.Contains(p.Obstacles[0], "paused") {
				t.Errorf("obstacles %q, want the pause", p.Obstacles)
			}
			if ph := s.status().Phase; ph != messages.PhaseIdle {
				t.Errorf("phase %s after a dry run", ph)
			}
		})
	}
}

func TestAPausedNodeDoesNotStartPostgreSQL(t *testing.T) {
	for _, paused := range []bool{true, false} {
		n := newOpNode(1).paused(t)
		s, stop := n.start(t)
		stop() // the engine would look around too
		if !paused {
			s.setPaused(nil)
		}
		n.zfs.asked = nil
		s.cure(t.Context(), plan.Diagnosis{Cure: plan.CureStart})
		if looked := slices.Contains(n.zfs.asked, "tank/pg"); looked == paused {
			t.Errorf("paused %v: it asked for %v", paused, n.zfs.asked)
		}
	}
}

// An operator who asks all nodes has not said that a promoted one may go.
func TestARequestToAllNodesIsNoConsent(t *testing.T) {
	for _, all := range []bool{true, false} {
		n := newOpNode(1).paused(t)
		s, _ := n.start(t)
		if _, err := s.Resync(t.Context(), messages.OperatorRequest{Resume: true, All: all}); err != nil {
			t.Fatal(err)
		}
		if got := s.journal().Consent; got == all {
			t.Errorf("all %v: consent %v", all, got)
		}
	}
}

func TestADryRunNamesWhatWouldStopTheResync(t *testing.T) {
	n := newOpNode(1).paused(t)
	n.facts.Identity.Version = 180000
	s, _ := n.start(t)
	reply, err := s.Resync(t.Context(), messages.OperatorRequest{DryRun: true, Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	if o := reply.Plan.Obstacles; len(o) != 1 || !strings.Contains(o[0], "PostgreSQL 17 here, 18 on db1") {
		t.Errorf("obstacles %q", o)
	}
}

func TestCleanupTellsWhatItRemovesAndADryRunRemovesNothing(t *testing.T) {
	n := newOpNode(3).paused(t)
	s, _ := n.start(t)
	for _, dry := range []bool{true, false} {
		reply, err := s.Cleanup(t.Context(), messages.OperatorRequest{DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		if items := reply.Cleanup.Items; len(items) != 1 || items[0].Kind != "snapshot" || items[0].Name != string(n.zfs.history[0].Name) {
			t.Errorf("dry run %v: items %+v", dry, items)
		}
		if removed := len(n.zfs.destroyed) > 0; removed == dry {
			t.Errorf("dry run %v: removed %v", dry, n.zfs.destroyed)
		}
	}
}

func TestCleanupDoesNotDisturbAResync(t *testing.T) {
	n := newOpNode(1).paused(t)
	s, _ := n.start(t)
	s.mu.Lock()
	s.j = resync.Journal{V: 1, ID: messages.NewResyncID(time.Now()), Phase: messages.PhaseProving, Snapshot: n.ids[0], Branch: "data"}
	s.mu.Unlock()
	if _, err := s.Cleanup(t.Context(), messages.OperatorRequest{}); !errors.Is(err, messages.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
}

// A sidecar that is being stopped hears no answers. That is no verdict.
func TestStoppingIsNoVerdict(t *testing.T) {
	n := newOpNode(1).paused(t)
	s, stop := n.start(t)
	diagnosed(t, s)
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := s.status()
	s.diagnose(ctx)
	if after := s.status(); after.Verdict != before.Verdict || after.Reason != before.Reason {
		t.Errorf("verdict %s (%s), before the stop %s (%s)", after.Verdict, after.Reason, before.Verdict, before.Reason)
	}
}
