package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// server is a Prometheus on the loopback that scrapes both sidecars.
type server struct{ url string }

func startPrometheus(t *testing.T) server {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("PGRESYNC_TEST_MUST_RUN") != "" {
			t.Fatal("prometheus is not installed: scripts/prerequisites installs Debian's package")
		}
		t.Skip("prometheus is not installed: scripts/prerequisites installs Debian's package")
	}
	var targets []string
	for _, sidecar := range both {
		srv := httptest.NewServer(full(t, sidecar).Handler())
		t.Cleanup(srv.Close)
		targets = append(targets, fmt.Sprintf("%q", srv.Listener.Addr()))
	}
	rules, err := filepath.Abs("../../contrib/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: pgresync, static_configs: [{targets: [%s]}]}]\n", rules, strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "--config.file="+config, "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return server{"http://" + address}
}

// freeAddress may be taken by another before Prometheus has it; then the test fails
// to start and says so.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// query returns how many series an expression yields.
func (s server) query(ctx context.Context, expr string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/v1/query?query="+url.QueryEscape(expr), http.NoBody)
	if err != nil {
		return 0, err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var reply struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(r.Body).Decode(&reply); err != nil {
		return 0, err
	}
	if reply.Status != "success" {
		return 0, fmt.Errorf("%s", reply.Error)
	}
	return len(reply.Data.Result), nil
}

// until asks again until the answer is right.
func (s server) until(t *testing.T, expr string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := s.query(ctx, expr)
		if err == nil && n == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s yields %d series (%v), want %d", expr, n, err, want)
		case <-tick.C:
		}
	}
}

func TestARealPrometheusUnderstandsMetricsRulesAndDashboard(t *testing.T) {
	s := startPrometheus(t)
	// Rates need two scrapes of each.
	s.until(t, "count_over_time(pgresync_build_info[1m]) > 2", len(both))
	for _, expr := range dashboardExpressions(t) {
		// It shows something, although a scrape of a busy machine may come late.
		s.until(t, "count("+expr+") > bool 0", 1)
	}
	rules, err := os.ReadFile("../../contrib/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if _, err := s.query(t.Context(), `ALERTS{alertname="`+alert[1]+`"}`); err != nil {
			t.Errorf("alert %s: %v", alert[1], err)
		}
	}
	// A slot whose WAL is gone: the real server sees the alert coming.
	s.until(t, `ALERTS{alertname="PgresyncSlotLost",alertstate="pending"}`, 1)
}

func dashboardExpressions(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../contrib/grafana/pgresync.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out = append(out, strings.NewReplacer("$cluster", ".*", "$node", ".*", "$__rate_interval", "1m").Replace(target.Expr))
		}
	}
	if len(out) < 15 {
		t.Fatalf("only %d expressions were found", len(out))
	}
	return out
}
