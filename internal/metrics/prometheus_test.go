package metrics

import (
	"net/http/httptest"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/promtest"
)

func TestARealPrometheusUnderstandsMetricsRulesAndDashboard(t *testing.T) {
	var targets []string
	for _, sidecar := range both {
		srv := httptest.NewServer(full(t, sidecar).Handler())
		t.Cleanup(srv.Close)
		targets = append(targets, srv.Listener.Addr().String())
	}
	s := promtest.Start(t, time.Second, "../../contrib/prometheus/alerts.yml", targets)
	// Rates need two scrapes of each.
	s.Until(t, "count_over_time(pgresync_build_info[1m]) > 2", len(both), time.Minute)
	for _, p := range promtest.Panels(t, "../../contrib/grafana/pgresync.json", "1m") {
		for _, target := range p.Targets {
			// It shows something, although a scrape of a busy machine may come late.
			s.Until(t, "count("+target.Expr+") > bool 0", 1, time.Minute)
		}
	}
	rules, err := os.ReadFile("../../contrib/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if _, err := s.Query(t.Context(), `ALERTS{alertname="`+alert[1]+`"}`); err != nil {
			t.Errorf("alert %s: %v", alert[1], err)
		}
	}
	// A slot whose WAL is gone: the real server sees the alert coming.
	s.Until(t, `ALERTS{alertname="PgresyncSlotLost",alertstate="pending"}`, 1, time.Minute)
}
