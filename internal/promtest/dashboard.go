package promtest

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Panel is one of the dashboard's that asks something.
type Panel struct {
	Title, Type, Unit string
	Place             struct{ X, Y, W, H int }
	Targets           []Target
}

// Target is one question; Legend names a series of the answer.
type Target struct{ Expr, Legend string }

// Panels reads a dashboard for Grafana, with its variables replaced as Grafana does
// it when all is chosen.
func Panels(t *testing.T, path, rateInterval string) []Panel {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			FieldConfig struct{ Defaults struct{ Unit string } }
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$cluster", ".*", "$node", ".*", "$__rate_interval", rateInterval)
	var out []Panel
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			continue // a heading
		}
		panel := Panel{Title: p.Title, Type: p.Type, Unit: p.FieldConfig.Defaults.Unit, Place: p.GridPos}
		for _, target := range p.Targets {
			panel.Targets = append(panel.Targets, Target{variables.Replace(target.Expr), target.LegendFormat})
		}
		out = append(out, panel)
	}
	if len(out) < 15 {
		t.Fatalf("only %d panels were found in %s", len(out), path)
	}
	return out
}

var placeholder = regexp.MustCompile(`{{ *(\w+) *}}`)

// Name is what the legend says of a series.
func (t Target) Name(s Series) string {
	return placeholder.ReplaceAllStringFunc(t.Legend, func(m string) string {
		return s.Labels[placeholder.FindStringSubmatch(m)[1]]
	})
}
