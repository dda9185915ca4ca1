package page_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pgresync/pgresync/internal/page"
	"github.com/pgresync/pgresync/messages"
)

// nasty is what a page must show and never do.
const nasty = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`

// cluster is one in which a standby is being resynced and another has failed.
type cluster struct {
	mu    sync.Mutex
	moved uint64
	// text is in whatever a node may say.
	text string
}

func (c *cluster) move(bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved = bytes
}

const whole = 6 << 30

func (c *cluster) Nodes(context.Context) ([]messages.NodeStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	node := func(name messages.NodeName, sidecar string, role messages.Role, lsn messages.LSN) messages.NodeStatus {
		return messages.NodeStatus{
			Node: name, Sidecar: sidecar, Version: "v1.0.0", At: now, Role: role, Base: messages.NewSnapshotID(now.Add(-17 * time.Minute)),
			Identity: &messages.Identity{LSN: lsn, Timeline: messages.TimelineHistory{Current: 3}},
		}
	}
	db2 := node("db2", messages.SidecarSecondary, messages.RoleStandby, 0x5_1000_0000)
	db2.Phase, db2.Verdict, db2.Reason = messages.PhaseReceiving, messages.VerdictResync, messages.ReasonWALGone
	db2.Evidence = "the standby needs WAL from 4/A0000028, the publisher has it from 5/02000000 on"
	db2.Transfer = &messages.TransferReport{Dataset: "data", Bytes: c.moved, Estimate: whole, Rate: 180 << 20, LeftMillis: int64((whole - c.moved) / (180 << 10))}
	db3 := node("db3", messages.SidecarSecondary, messages.RoleStandby, 0x5_1F00_0000)
	db3.Phase, db3.Verdict, db3.Reason = messages.PhaseIdle, messages.VerdictHealthy, messages.ReasonStreaming
	db4 := node("db4", messages.SidecarSecondary, messages.RoleDown, 0)
	db4.Identity, db4.Phase = nil, messages.PhaseNeedsOperator
	db4.Verdict, db4.Reason, db4.Evidence = messages.VerdictNeedsOperator, messages.ReasonWrongVersion, "its binaries are of another major version "+c.text
	db4.Last = &messages.ResyncReport{
		ID: "01K", Phase: messages.PhaseNeedsOperator, Reason: messages.ReasonNoData, StartedAt: now.Add(-time.Hour),
		Error: "PostgreSQL 16 here, 17 there " + c.text, Remedy: "install the primary's major version",
	}
	return []messages.NodeStatus{node("db1", messages.SidecarPrimary, messages.RolePrimary, 0x5_2000_0000), db2, db3, db4}, nil
}

func (c *cluster) Lease(context.Context) (messages.Lease, uint64, error) {
	return messages.Lease{Node: "db1", Timeline: 3, LSN: 0x5_2000_0000}, 7, nil
}

func (c *cluster) Streams(context.Context) ([]messages.StreamRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []messages.StreamRecord{{
		Stream: "s", Dataset: "data", State: messages.StreamRunning, Sent: c.moved + 64<<20, Estimate: whole, Rate: 181 << 20,
		Readers: []messages.NodeName{"db2"},
	}}, nil
}

func (c *cluster) History(ctx context.Context, _ time.Time, _ bool, handle func(messages.Event) error) error {
	for i, text := range []string{
		"node db2: resync (wal-gone): the publisher no longer has the WAL it needs", "snapshot 01KB8 is ready, WAL from 5/10000028",
		"node db2: resync 01KB9: receiving", "node db4 needs its operator: PostgreSQL 16 here, 17 there " + c.text,
	} {
		e := messages.Event{ID: messages.MessageID(rune('a' + i)), Type: messages.EventVerdict, Node: "db2", At: time.Now().Add(time.Duration(i-4) * time.Minute), Text: text}
		if err := handle(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// serve serves the page of db1's sidecar.
func serve(t *testing.T, c *cluster) string {
	t.Helper()
	p := page.New(page.Identity{Cluster: "main", Node: "db1", Sidecar: messages.SidecarPrimary, Version: "v1.0.0"}, c, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	srv := httptest.NewServer(p.Handler())
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); stop(); <-done })
	return srv.URL
}

// tab is one of a headless Chromium.
type tab struct {
	t   *testing.T
	ctx func() context.Context
}

func browser(t *testing.T) tab {
	t.Helper()
	if os.Getenv("PGRESYNC_TEST_PAGE") == "" {
		t.Skip("a browser is needed: make test-page")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: scripts/prerequisites chromium installs Debian's")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1200, 900), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-dev-shm-usage", true))
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	return tab{t, func() context.Context { return ctx }}
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx(), steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b tab) eval(expression string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](expression))
}

func (b tab) holds(what, expression string) {
	b.t.Helper()
	yes, err := chromedp.Run(b.ctx(), chromedp.Evaluate[bool](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	if !yes {
		b.t.Errorf("%s: %s does not hold", what, expression)
	}
}

// becomes waits for an expression to hold.
func (b tab) becomes(expression string) {
	b.t.Helper()
	b.do(chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(2*time.Minute)))
}

// shoot writes a screenshot for the documentation when it is asked to.
func (b tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("PGRESYNC_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx(), chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestStatusPageInARealBrowser(t *testing.T) {
	b := browser(t)
	c := &cluster{moved: 2 << 30, text: nasty}
	url := serve(t, c)
	b.do(chromedp.Navigate(url))
	b.becomes(`document.querySelectorAll(".node").length === 4`)

	b.holds("the publisher is on top", `document.querySelector("#publisher .node h3").textContent.includes("db1")`)
	b.holds("it is live", `document.querySelector("#live").textContent === "live"`)
	b.holds("a third is there", `document.querySelector("#standbys progress").value === 2147483648`)

	// What came over the network is text.
	b.holds("nothing was run", `window.pwned === undefined`)
	b.holds("nothing became an element", `document.querySelectorAll("main img, main script").length === 0`)
	b.becomes(`document.querySelector("#events").textContent.includes("<img src=x onerror=")`)
	b.holds("the policy admits no other script", `(() => { const s = document.createElement("script"); s.textContent = "window.pwned = 1"; document.body.append(s); s.remove(); return window.pwned === undefined; })()`)

	// Progress arrives without a reload, and what was opened stays open.
	b.eval(`document.querySelector("#standbys details").open = true`)
	c.move(3 << 30)
	b.becomes(`document.querySelector("#standbys progress").value === 3221225472`)
	b.holds("details stay open", `document.querySelector("#standbys details").open`)
	b.holds("nothing came from elsewhere", `performance.getEntriesByType("resource").every(e => e.name.startsWith(location.origin) || e.name.startsWith("data:"))`)

	keyboard(b)
	phone(b)
}

// A browser does not try again by itself after such an answer.
func TestThePageComesBackAfterARefusal(t *testing.T) {
	b := browser(t)
	p := page.New(page.Identity{Cluster: "main", Node: "db1", Sidecar: messages.SidecarPrimary, Version: "v1.0.0"}, &cluster{}, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" && asked.Add(1) == 1 {
			http.Error(w, "32 viewers are looking already", http.StatusServiceUnavailable)
			return
		}
		p.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); stop(); <-done })
	b.do(chromedp.Navigate(srv.URL))
	b.becomes(`document.querySelector("#live").textContent.startsWith("connection lost")`)
	b.becomes(`document.querySelector("#live").textContent === "live" && document.querySelectorAll(".node").length === 4`)
}

// keyboard does without a mouse.
func keyboard(b tab) {
	b.eval(`document.activeElement.blur(); document.querySelectorAll("details").forEach(d => d.open = false)`)
	b.do(chromedp.KeyEvent(kb.Tab))
	b.holds("the first stop skips to the events", `document.activeElement.className === "skip"`)
	b.do(chromedp.KeyEvent(kb.Tab))
	b.holds("the next is the publisher's details", `document.activeElement.tagName === "SUMMARY"`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.becomes(`document.querySelector("#publisher details").open`)
	b.holds("focus stays where it was", `document.activeElement.tagName === "SUMMARY"`)
}

// phone has a narrow screen.
func phone(b tab) {
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2)))
	b.becomes(`innerWidth === 360`)
	b.holds("nothing is wider than the screen", `document.documentElement.scrollWidth <= 360`)
}
