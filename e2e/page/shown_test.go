package page_test

import (
	"context"
	_ "embed" // the drawing
	"encoding/json"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/pgresync/pgresync/internal/promtest"
)

const (
	// scrapeEvery is also what the drawing resolves.
	scrapeEvery = 10 * time.Second
	// The cluster runs in an emulated machine, beside whatever else the host does.
	lengthy = 40 * time.Minute
)

// TestARealCluster looks at the one that e2e.TestShown keeps busy in the lab: at its
// status page in a browser while a standby receives, and at the dashboard's panels
// by a real Prometheus that scraped its sidecars all the time. Each panel must have
// something to show.
func TestARealCluster(t *testing.T) {
	first, err := strconv.Atoi(os.Getenv("PGRESYNC_TEST_SHOWN"))
	nodes, nerr := strconv.Atoi(os.Getenv("PGRESYNC_TEST_SHOWN_NODES"))
	if err != nil || nerr != nil {
		t.Skip("a cluster in the lab is needed: make test-shown")
	}
	b := browser(t)
	t.Cleanup(func() { end(t, first+nodes) })
	prometheus := promtest.Start(t, scrapeEvery, "../../contrib/prometheus/alerts.yml", addresses(first, nodes))
	prometheus.Until(t, "pgresync_ready == 1", nodes, lengthy)
	began := time.Now()
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate("http://"+addresses(first, nodes)[0]))
	shootTheTransfer(b, nodes)
	// The rarest of what the panels show: a seed has no down time, and a rate needs a change.
	// It must have been so for longer than what the drawing resolves.
	prometheus.Until(t, "sum(rate(pgresync_resync_down_seconds_count[1d] offset 20s)) > 0", 1, lengthy)
	now := time.Now()
	panels := ask(t, prometheus, began, now)
	shootTheDashboard(b, panels, began, now)
}

func addresses(first, nodes int) []string {
	var out []string
	for i := range nodes {
		out = append(out, net.JoinHostPort("127.0.0.1", strconv.Itoa(first+i)))
	}
	return out
}

// end tells the lab that all was seen.
func end(t *testing.T, port int) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Log("the lab was not told to end: ", err)
		return
	}
	_ = c.Close()
}

// shootTheTransfer catches a standby in the middle of one.
func shootTheTransfer(b tab, nodes int) {
	b.t.Helper()
	half := `[...document.querySelectorAll("#standbys progress")].some(p => p.value > p.max / 4 && p.value < p.max * 0.9) &&
		document.querySelectorAll(".node").length === ` + strconv.Itoa(nodes) + ` && document.querySelectorAll("#uploads progress").length > 0 && document.querySelectorAll("#events li").length > 3`
	b.do(chromedp.Poll[chromedp.Void](half, chromedp.WithPollingInterval(200*time.Millisecond), chromedp.WithPollingTimeout(lengthy)))
	b.shoot("page.png")
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2)))
	b.becomes(`innerWidth === 360`)
	b.shoot("page-phone.png")
}

// drawn is a panel with its answers, as the drawing wants it.
type drawn struct {
	Title  string  `json:"title"`
	Type   string  `json:"type"`
	Unit   string  `json:"unit"`
	Place  place   `json:"place"`
	Series []curve `json:"series"`
}

type place struct{ X, Y, W, H int }

type curve struct {
	Name string `json:"name"`
	// Points are pairs of a time and a value, without those that are no numbers.
	Points [][2]float64 `json:"points"`
}

// ask has Prometheus answer every panel over the time of the test.
func ask(t *testing.T, s promtest.Server, from, to time.Time) []drawn {
	t.Helper()
	var out []drawn
	for _, p := range promtest.Panels(t, "../../contrib/grafana/pgresync.json", "1m") {
		d := drawn{Title: p.Title, Type: p.Type, Unit: p.Unit, Place: place(p.Place), Series: []curve{}}
		for _, target := range p.Targets {
			answer, err := s.Range(t.Context(), target.Expr, from, to, scrapeEvery)
			if err != nil {
				t.Errorf("panel %q: %s: %v", p.Title, target.Expr, err)
			}
			for _, series := range answer {
				if points := finite(series.Points); len(points) > 0 {
					d.Series = append(d.Series, curve{target.Name(series), points})
				}
			}
		}
		if len(d.Series) == 0 {
			t.Errorf("panel %q has nothing to show: %+v", p.Title, p.Targets)
		}
		out = append(out, d)
	}
	return out
}

func finite(points []promtest.Point) [][2]float64 {
	var out [][2]float64
	for _, p := range points {
		if !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
			out = append(out, [2]float64{p.At, p.Value})
		}
	}
	return out
}

//go:embed dashboard.html
var drawing string

// shootTheDashboard draws the panels where Grafana would.
func shootTheDashboard(b tab, panels []drawn, from, to time.Time) {
	b.t.Helper()
	data, err := json.Marshal(map[string]any{"panels": panels, "from": from.Unix(), "to": to.Unix()})
	if err != nil {
		b.t.Fatal(err)
	}
	page := strings.Replace(drawing, "/* data */", "const data = "+string(data), 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(page)) // a browser that went away needs none
	}))
	defer srv.Close()
	b.do(chromedp.EmulateViewport(1400, 2110), chromedp.Navigate(srv.URL))
	b.becomes(`document.querySelectorAll("section").length === data.panels.length`)
	b.shoot("dashboard.png")
}
