// Package prometheus has no code; its tests hold the alert rules and the dashboard
// to the metrics that there are.
package prometheus

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tool finds one of the programs of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("PGRESYNC_TEST_MUST_RUN") != "":
		t.Fatalf("%s is not installed: scripts/prerequisites installs Debian's package prometheus", name)
	}
	t.Skipf("%s is not installed: scripts/prerequisites installs Debian's package prometheus", name)
	return ""
}

func TestPromtoolAcceptsRulesTestsAndConfiguration(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "config", "prometheus.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func names(text, before string) []string {
	var out []string
	for _, m := range regexp.MustCompile(before+`(\w+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(out, m[1]) {
			out = append(out, m[1])
		}
	}
	return out
}

func TestEveryAlertIsTestedAndHasItsPage(t *testing.T) {
	rules, tests, runbook := read(t, "alerts.yml"), read(t, "alerts_test.yml"), read(t, "../../docs/runbook.md")
	alerts, tested := names(rules, `- alert: `), names(tests, `alertname: `)
	if len(alerts) < 10 {
		t.Fatalf("only %d alerts were found", len(alerts))
	}
	for _, a := range alerts {
		if !slices.Contains(tested, a) {
			t.Errorf("%s has no test", a)
		}
		if !strings.Contains(runbook, "\n### "+a+"\n") {
			t.Errorf("%s has no section in docs/runbook.md", a)
		}
		if !strings.Contains(rules, "docs/runbook.md#"+strings.ToLower(a)+"\n") {
			t.Errorf("%s does not link to its section", a)
		}
	}
	for _, section := range names(runbook, `\n### (?:)`) {
		if strings.HasPrefix(section, "Pgresync") && !slices.Contains(alerts, section) {
			t.Errorf("docs/runbook.md has a section for %s, which is no alert", section)
		}
	}
}

// dashboard is what the tests need of it.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

func TestRulesAndDashboardNameMetricsThatThereAre(t *testing.T) {
	documented := names(read(t, "../../docs/metrics.md"), "\\n\\| `(?:)")
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "../grafana/pgresync.json")), &d); err != nil {
		t.Fatalf("the dashboard is no JSON: %v", err)
	}
	text := read(t, "alerts.yml")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			text += "\n" + target.Expr
		}
	}
	used := regexp.MustCompile(`\bpgresync_\w+`).FindAllString(text, -1)
	if len(used) < 30 || len(documented) < 30 {
		t.Fatalf("%d uses of %d metrics were found", len(used), len(documented))
	}
	for _, u := range used {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(u, "")
		if !slices.Contains(documented, u) && !slices.Contains(documented, base) {
			t.Errorf("%s is no metric", u)
		}
	}
}
