package page

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a small one in memory.
type cluster struct {
	mu     sync.Mutex
	nodes  []messages.NodeStatus
	asked  int
	denied error
	events []messages.Event
}

func (c *cluster) Nodes(context.Context) ([]messages.NodeStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.nodes, c.denied
}

func (c *cluster) Lease(context.Context) (messages.Lease, uint64, error) {
	return messages.Lease{Node: "db1", Timeline: 1, LSN: 1000}, 1, nil
}

func (c *cluster) Streams(context.Context) ([]messages.StreamRecord, error) {
	return []messages.StreamRecord{
		{Stream: messages.StreamID(strings.Repeat("0a", 16)), Dataset: "wal", State: messages.StreamRunning, Sent: 5, Estimate: 10, Consumer: "secret-name", Readers: []messages.NodeName{"db2"}},
		{Stream: "s2", State: messages.StreamComplete},
	}, nil
}

func (c *cluster) History(ctx context.Context, _ time.Time, _ bool, handle func(messages.Event) error) error {
	if c.denied != nil {
		return c.denied
	}
	for _, e := range c.events {
		if err := handle(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func (c *cluster) asks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// shown is what the tests look at; the documents of a test need not be whole.
type shown struct {
	Publisher string
	Nodes     []struct {
		Node, State, Verdict string
		Transfer             *struct {
			Bytes uint64 `json:",string"`
		}
	}
	Uploads, Events []any
	Notes           []string
}

func standby(name messages.NodeName, at time.Time) messages.NodeStatus {
	return messages.NodeStatus{
		Node: name, Sidecar: messages.SidecarSecondary, At: at, Role: messages.RoleStandby, Phase: messages.PhaseIdle,
		Verdict: messages.VerdictHealthy, Reason: messages.ReasonStreaming,
	}
}

func start(t *testing.T, c *cluster) (*Page, *httptest.Server) {
	t.Helper()
	p := New(Identity{Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary, Version: "v1"}, c, func() messages.NodeStatus { return standby("db2", time.Now()) })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	srv := httptest.NewServer(p.Handler())
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); stop(); <-done })
	return p, srv
}

func get(t *testing.T, url string) (header http.Header, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header, string(b)
}

func TestPageHasNothingFromElsewhere(t *testing.T) {
	_, srv := start(t, &cluster{})
	header, body := get(t, srv.URL+"/")
	csp := header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'", "form-action 'none'", "connect-src 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q has no %q", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q admits what is unsafe", csp)
	}
	for _, bad := range []string{"http://", "https://", "innerHTML", "outerHTML", "insertAdjacent", "document.write", " style=", " onclick"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	if n := len(regexp.MustCompile(`<script>|<style>`).FindAllString(body, -1)); n != 2 {
		t.Errorf("%d inline blocks, want the two that are hashed", n)
	}
}

func TestPageIsReadOnly(t *testing.T) {
	_, srv := start(t, &cluster{})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, path := range []string{"/", "/state", "/events"} {
			req, _ := http.NewRequestWithContext(t.Context(), method, srv.URL+path, http.NoBody)
			r, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s, want 405", method, path, r.Status)
			}
		}
	}
}

func TestStateShowsTheClusterAndKeepsWhatIsNotForEverybody(t *testing.T) {
	at := time.Now()
	c := &cluster{nodes: []messages.NodeStatus{standby("db2", at.Add(-time.Minute)), standby("db3", at)}}
	_, srv := start(t, c)
	_, body := get(t, srv.URL+"/state")
	var m shown
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if len(m.Nodes) != 2 || m.Publisher != "db1" || len(m.Uploads) != 1 {
		t.Errorf("got %d nodes, publisher %q, %d uploads; want 2, db1, and the one that runs", len(m.Nodes), m.Publisher, len(m.Uploads))
	}
	if strings.Contains(body, "secret-name") {
		t.Error("the state names a consumer, which is its owner's")
	}
}

func TestWhatMayNotBeKnownIsANoteAndTheOwnNodeIsShown(t *testing.T) {
	_, srv := start(t, &cluster{denied: fmt.Errorf("list nodes: %w", messages.ErrPermission)})
	_, body := get(t, srv.URL+"/state")
	var m shown
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Nodes) != 1 || m.Nodes[0].Node != "db2" || len(m.Notes) == 0 {
		t.Errorf("got %+v, want the own node and a note", m)
	}
}

func TestWhatIsForbiddenIsAskedOnce(t *testing.T) {
	c := &cluster{denied: fmt.Errorf("list nodes: %w", messages.ErrPermission)}
	p := New(Identity{Node: "db2"}, c, nil)
	for range 3 {
		p.refresh(t.Context())
	}
	if got := c.asks(); got != 1 {
		t.Errorf("asked %d times, want once: each is a line in the log", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if p.serve(ctx); p.denied[askNodes] != nil {
		t.Error("who comes next may be allowed by then")
	}
}

func TestAClusterOfNobodyIsAList(t *testing.T) {
	p := New(Identity{Node: "db1"}, &cluster{}, nil)
	p.enter()
	if p.refresh(t.Context()); !strings.Contains(string(p.latest), `"nodes":[]`) {
		t.Errorf("got %s, want no nodes, which a script can go through", p.latest)
	}
}

func TestWhatWasAskedForSomebodyWhoLeftIsNotKept(t *testing.T) {
	p := New(Identity{Node: "db2"}, &cluster{}, nil)
	p.enter()
	if p.refresh(t.Context()); p.latest == nil {
		t.Error("nothing is there for who looks")
	}
	p.leave()
	if p.refresh(t.Context()); p.latest != nil {
		t.Error("who comes next sees what is old by then")
	}
}

// flaky is a cluster whose events can be followed at the second try.
type flaky struct {
	*cluster
	tries int
}

func (f *flaky) History(ctx context.Context, since time.Time, follow bool, handle func(messages.Event) error) error {
	if f.tries++; f.tries == 1 {
		return errors.New("NATS is away")
	}
	return f.cluster.History(ctx, since, follow, handle)
}

func TestEventsAreFollowedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		p := New(Identity{Node: "db2"}, &flaky{cluster: &cluster{events: []messages.Event{{ID: "1", Type: messages.EventVerdict, Node: "db3", At: time.Now()}}}}, nil)
		go p.follow(ctx)
		synctest.Wait()
		if note := p.ask(askEvents, func() error { return nil }); !strings.Contains(note, "NATS is away") {
			t.Errorf("note %q, want why events are not known", note)
		}
		<-time.NewTimer(followAgain).C
		synctest.Wait()
		if note := p.ask(askEvents, func() error { return nil }); note != "" || len(p.journal.lines()) != 1 {
			t.Errorf("note %q and events %v after NATS came back", note, p.journal.lines())
		}
	})
}

func TestAnEventThatIsNewerThanPresenceWins(t *testing.T) {
	at := time.Now()
	c := &cluster{nodes: []messages.NodeStatus{standby("db3", at)}}
	p, srv := start(t, c)
	begun := messages.Event{
		ID: "1", Type: messages.EventPhase, Node: "db3", At: at.Add(time.Second), Text: "db3 receives",
		Resync: &messages.ResyncReport{ID: messages.NewResyncID(at), Phase: messages.PhaseReceiving},
	}
	p.Observe(begun)
	p.Observe(begun) // delivered twice: shown once
	p.Observe(messages.Event{
		ID: "2", Type: messages.EventTransfer, Node: "db3", At: at.Add(2 * time.Second), Text: "half of it",
		Transfer: &messages.TransferReport{Bytes: 50, Estimate: 100},
	})
	_, body := get(t, srv.URL+"/state")
	var m shown
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Nodes {
		if n.Node == "db3" && (n.State != "receiving" || n.Verdict != "" || n.Transfer == nil || n.Transfer.Bytes != 50) {
			t.Errorf("db3 is %s and %q with %+v, want receiving with 50 bytes, and no verdict from before", n.State, n.Verdict, n.Transfer)
		}
	}
	if len(m.Events) != 1 {
		t.Errorf("events %+v: want the phase once, and progress not listed", m.Events)
	}
}

func TestEventsAreSentAsTheyChangeAndNobodyIsAskedForNobody(t *testing.T) {
	c := &cluster{nodes: []messages.NodeStatus{standby("db3", time.Now())}}
	p, srv := start(t, c)
	if c.asks() != 0 {
		t.Error("NATS was asked although nobody looks")
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/events", http.NoBody)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	next := func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		t.Fatal("the stream ended: ", lines.Err())
		return ""
	}
	if first := next(); !strings.Contains(first, `"db3"`) {
		t.Errorf("first message %s, want the cluster", first)
	}
	p.Observe(messages.Event{ID: "3", Type: messages.EventVerdict, Node: "db3", At: time.Now(), Text: "</script><b>news"})
	second := next()
	if !strings.Contains(second, "news") || strings.Contains(second, "</script>") {
		t.Errorf("second message %s, want the event, escaped", second)
	}
}

// The server's limits are for requests that end.
func TestAStreamOutlivesTheServersLimits(t *testing.T) {
	p, _ := start(t, &cluster{nodes: []messages.NodeStatus{standby("db3", time.Now())}})
	srv := httptest.NewUnstartedServer(p.Handler())
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	r, err := http.Get(srv.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	late := time.AfterFunc(10*time.Second, func() { r.Body.Close() })
	defer late.Stop()
	began := time.Now()
	for lines := bufio.NewScanner(r.Body); time.Since(began) < 500*time.Millisecond; {
		if !lines.Scan() {
			t.Fatalf("the stream ended after %s: %v", time.Since(began), lines.Err())
		}
	}
}

func TestViewersAreBounded(t *testing.T) {
	p := New(Identity{}, &cluster{}, nil)
	for range mostViewers {
		if !p.enter() {
			t.Fatal("a viewer was turned away before the bound")
		}
	}
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/events", http.NoBody))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("viewer %d got %d, want 503", mostViewers+1, w.Code)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := New(Identity{}, &cluster{}, nil).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}
