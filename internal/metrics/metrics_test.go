package metrics

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// full are metrics of a sidecar in which everything is going on at once.
func full(t *testing.T, sidecar string) *Metrics {
	t.Helper()
	state := messages.NodeStatus{
		Role: messages.RoleStandby, Identity: &messages.Identity{LSN: 5000, Timeline: messages.TimelineHistory{Current: 2}},
		Phase: messages.PhaseReceiving, Verdict: messages.VerdictResync, Reason: messages.ReasonWALGone,
		Base: messages.NewSnapshotID(at), Kept: []messages.Dataset{"tank/pg.kept"}, Paused: &messages.Pause{At: at},
		Transfer: &messages.TransferReport{Bytes: 50, Estimate: 100, Rate: 25},
	}
	src := Sources{
		Ready:    func() error { return nil },
		Children: func() []Child { return []Child{{"zfs", 1, 7, 2}} },
	}
	probes := []Probe{
		fixed("pool", Pool(messages.PoolInfo{Size: 1000, Free: 400, Health: "ONLINE"})),
		fixed("live", Tree("live", messages.DatasetInfo{Used: 10, Available: 20}, messages.History{
			{Name: "tank/pg@" + messages.SnapshotName(messages.NewSnapshotID(at).ShortName())}, {Name: "tank/pg@foreign"},
		}, 1)),
		fixed("jetstream", Stores([]Store{{"parts", 5, 6, 7}, {"events", 1, 2, -1}})),
		fixed("slots", Slots([]messages.SlotUse{{SlotState: messages.SlotState{Name: "pgresync_db2_x", RestartLSN: 4000, Active: true, WALStatus: messages.WALLost}, HoldsXmin: true}}, 5000)),
	}
	if sidecar == messages.SidecarSecondary {
		src.State, src.Lag = func() messages.NodeStatus { return state }, func() (uint64, bool) { return 42, true }
		src.Downloaded = func() Moved { return Moved{3, 300, 1} }
	} else {
		src.Publishes, src.Waiting = func() bool { return true }, func() int { return 1 }
		src.Streams = func() []messages.StreamRecord {
			return []messages.StreamRecord{{State: messages.StreamRunning, Paused: true, Rate: 9, Readers: []messages.NodeName{"db2", "db3"}}, {State: messages.StreamComplete}}
		}
		src.Uploaded = func() Moved { return Moved{3, 300, 1} }
		probes = append(probes, fixed("status", Node(state)))
	}
	m := New(Target{Cluster: "main", Node: "db2", Sidecar: sidecar, Version: "v1.2.3"}, src, probes...)
	for _, p := range m.probes.all {
		m.probes.look(t.Context(), p)
	}
	if sidecar == messages.SidecarSecondary {
		tell(m, messages.EventPhase, messages.PhaseRequested, 0)
		tell(m, messages.EventPhase, messages.PhaseReceiving, 2*time.Second)
		m.Observe(messages.Event{Type: messages.EventTransfer, At: at, Transfer: &messages.TransferReport{Trouble: "cut"}})
		tell(m, messages.EventRejoined, messages.PhaseIdle, 12*time.Second)
		tell(m, messages.EventFailed, messages.PhaseWaiting, 20*time.Second)
		tell(m, messages.EventNeedsOperator, messages.PhaseNeedsOperator, 30*time.Second)
	} else {
		m.Observe(messages.Event{Type: messages.EventSnapshotReady, At: at})
	}
	return m
}

func fixed(name string, s []Sample) Probe {
	return Probe{Name: name, Look: func(context.Context) ([]Sample, error) { return s, nil }}
}

func tell(m *Metrics, t messages.EventType, p messages.Phase, after time.Duration) {
	m.Observe(messages.Event{Type: t, At: at.Add(after), Resync: &messages.ResyncReport{
		Phase: p, Reason: messages.ReasonWALGone, TotalMillis: 12000, DownMillis: 1500,
		Passes: []messages.PassReport{{Kind: messages.PassIncrement, Bytes: 70}},
	}})
}

var both = []string{messages.SidecarPrimary, messages.SidecarSecondary}

func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	for _, sidecar := range both {
		problems, err := testutil.GatherAndLint(full(t, sidecar).Gather())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", sidecar, p.Metric, p.Text)
		}
	}
}

func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("PGRESYNC_TEST_MUST_RUN") != "" {
			t.Fatal("promtool is not installed: scripts/prerequisites installs Debian's package prometheus")
		}
		t.Skip("promtool is not installed: scripts/prerequisites installs Debian's package prometheus")
	}
	for _, sidecar := range both {
		cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(scrape(t, full(t, sidecar), "pgresync_"))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: promtool check metrics: %v\n%s", sidecar, err, out)
		}
	}
}

// scrape returns the lines about metrics whose names begin with prefix.
func scrape(t *testing.T, m *Metrics, prefix string) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if strings.HasPrefix(name, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestWhatIsKnownIsShown(t *testing.T) {
	const me = `cluster="main",node="db2",sidecar="secondary"`
	got := scrape(t, full(t, messages.SidecarSecondary), prefix)
	for _, want := range []string{
		`pgresync_resync_phase{cluster="main",node="db2",phase="receiving",sidecar="secondary"} 1`,
		`pgresync_resync_phase{cluster="main",node="db2",phase="idle",sidecar="secondary"} 0`,
		`pgresync_verdict{` + me + `,verdict="resync"} 1`,
		`pgresync_verdict_reason{cluster="main",node="db2",reason="wal-gone",sidecar="secondary"} 1`,
		`pgresync_replication_lag_bytes{` + me + `} 42`,
		`pgresync_base_timestamp_seconds{` + me + `} 1.7955108e+09`,
		`pgresync_paused{` + me + `} 1`,
		`pgresync_transfer_bytes_per_second{` + me + `} 25`,
		`pgresync_parts_retried_total{` + strings.Replace(me, `,node`, `,direction="down",node`, 1) + `} 1`,
		`pgresync_resyncs_total{` + strings.Replace(me, `,sidecar`, `,outcome="rejoined",sidecar`, 1) + `} 1`,
		`pgresync_resyncs_total{` + strings.Replace(me, `,sidecar`, `,outcome="failed",sidecar`, 1) + `} 1`,
		`pgresync_resyncs_started_total{` + strings.Replace(me, `,sidecar`, `,reason="wal-gone",sidecar`, 1) + `} 1`,
		`pgresync_resync_phase_duration_seconds_sum{` + strings.Replace(me, `,sidecar`, `,phase="receiving",sidecar`, 1) + `} 10`,
		`pgresync_resync_down_seconds_sum{` + me + `} 1.5`,
		`pgresync_transfers_interrupted_total{` + me + `} 1`,
		`pgresync_pool_free_bytes{` + me + `} 400`,
		`pgresync_snapshots{` + me + `,which="live"} 1`,
		`pgresync_jetstream_limit_bytes{` + me + `,which="parts"} 7`,
		`pgresync_child_processes_failed_total{` + strings.Replace(me, `,sidecar`, `,program="zfs",sidecar`, 1) + `} 2`,
		`pgresync_slot_retained_bytes{` + me + `,slot="pgresync_db2_x"} 1000`,
		`pgresync_slot_lost{` + me + `,slot="pgresync_db2_x"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s", want)
		}
	}
	if strings.Contains(got, `jetstream_limit_bytes{`+me+`,which="events"}`) {
		t.Error("a stream without a limit has one")
	}
	if t.Failed() {
		t.Log(got)
	}
}

// standbyIn are metrics of a standby whose machine is in a phase.
func standbyIn(st messages.NodeStatus) *Metrics {
	return New(Target{Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary}, Sources{State: func() messages.NodeStatus { return st }})
}

func TestEveryPhaseIsShown(t *testing.T) {
	for _, row := range resync.Rows() {
		got := scrape(t, standbyIn(messages.NodeStatus{Phase: row.To}), "pgresync_resync_phase")
		if want := `phase="` + string(row.To) + `",sidecar="secondary"} 1`; !strings.Contains(got, want) {
			t.Errorf("in phase %s there is no %s:\n%s", row.To, want, got)
		}
	}
}

func TestAVerdictFromBeforeIsNoneDuringAResync(t *testing.T) {
	st := messages.NodeStatus{Phase: messages.PhaseSwitching, Verdict: messages.VerdictHealthy, Reason: messages.ReasonStreaming}
	got := scrape(t, standbyIn(st), "pgresync_verdict")
	if !strings.Contains(got, `verdict="healthy"} 0`) || strings.Contains(got, string(messages.ReasonStreaming)) {
		t.Errorf("a standby that is being switched is healthy:\n%s", got)
	}
}

func TestAPhaseThatAnEarlierProcessBeganIsNotMeasured(t *testing.T) {
	m := New(Target{Sidecar: messages.SidecarSecondary}, Sources{})
	tell(m, messages.EventPhase, messages.PhaseProving, 0)
	if got := scrape(t, m, "pgresync_resync_phase_duration_seconds_count"); got != "" {
		t.Errorf("measured %q, want nothing", got)
	}
}

func TestAProbeThatFailsShowsNothingOldAndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		hanging := Probe{Name: "hanging", Look: func(ctx context.Context) ([]Sample, error) { <-ctx.Done(); return nil, ctx.Err() }}
		pool := Probe{Name: "pool", Look: func(context.Context) ([]Sample, error) {
			if failing.Load() {
				return nil, errors.New("the pool is suspended")
			}
			return Pool(messages.PoolInfo{Size: 9}), nil
		}}
		m := New(Target{Sidecar: messages.SidecarPrimary}, Sources{}, hanging, pool)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		synctest.Wait()
		if got := scrape(t, m, "pgresync_pool_size_bytes{"); !strings.Contains(got, " 9") {
			t.Errorf("got %q, want the pool although another probe hangs", got)
		}
		failing.Store(true)
		<-time.NewTimer(probeEvery + time.Second).C // by the bubble's clock
		synctest.Wait()
		if got := scrape(t, m, "pgresync_pool_size_bytes{"); got != "" {
			t.Errorf("got %q after the probe failed, want nothing", got)
		}
		if got := scrape(t, m, "pgresync_probe_success"); strings.Count(got, "} 0") != 2 {
			t.Errorf("got %q, want both to have failed", got)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

var update = flag.Bool("update", false, "write docs/metrics.md")

// TestDocumentation holds the table of the documentation to the code.
// A command that hangs in the kernel does not end with its context.
func TestALookThatCannotBeEndedIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, over := 0, make(chan struct{})
		pool := Probe{Name: "pool", Look: func(context.Context) ([]Sample, error) {
			if looks++; looks > 1 {
				<-over
			}
			return Pool(messages.PoolInfo{Size: 9}), nil
		}}
		m := New(Target{Sidecar: messages.SidecarPrimary}, Sources{}, pool)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		<-time.NewTimer(probeEvery + probePatience).C
		if got := scrape(t, m, "pgresync_probe_success"); !strings.Contains(got, "} 1") {
			t.Errorf("got %q while there is hope, want the last look's success", got)
		}
		<-time.NewTimer(probeStale).C
		if got := scrape(t, m, "pgresync_probe_success") + scrape(t, m, "pgresync_pool"); !strings.Contains(got, "} 0") || strings.Contains(got, "pool_size") {
			t.Errorf("got %q of a look that hangs, want a failure and nothing old", got)
		}
		stop()
		close(over)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestDocumentation(t *testing.T) {
	const page, open, shut = "../../docs/metrics.md", "<!-- begin metrics: generated from the code -->\n", "<!-- end metrics -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), open)
	have, after, ok2 := strings.Cut(rest, shut)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the table", page)
	}
	want := table(t)
	if *update {
		if err := os.WriteFile(page, []byte(before+open+want+shut+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("%s is not what the code says; run `make docs`", page)
	}
}

// table lists what both sidecars have.
func table(t *testing.T) string {
	t.Helper()
	rows, of := map[string]string{}, map[string][]string{}
	for _, sidecar := range both {
		families, err := full(t, sidecar).Gather().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if !strings.HasPrefix(f.GetName(), prefix) {
				continue
			}
			var labels []string
			for _, l := range f.GetMetric()[0].GetLabel() {
				if !slices.Contains([]string{"cluster", "node", "sidecar"}, l.GetName()) {
					labels = append(labels, "`"+l.GetName()+"`")
				}
			}
			name := f.GetName()
			rows[name] = fmt.Sprintf("| `%s` | %s | %s | %%s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
			of[name] = append(of[name], sidecar)
		}
	}
	names := make([]string, 0, len(rows))
	for n := range rows {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("| metric | type | labels | sidecar | meaning |\n|---|---|---|---|---|\n")
	for _, n := range names {
		who := of[n][0]
		if len(of[n]) == 2 {
			who = "both"
		}
		fmt.Fprintf(&b, rows[n], who)
	}
	return b.String()
}
