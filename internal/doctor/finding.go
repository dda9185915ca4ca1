package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // it works; it may not always
	Error   Level = "error"   // the node is not ready
)

// Finding is one thing that was looked at.
type Finding struct {
	// Check names what was looked at: a stable word.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Text is one sentence; Remedy the one thing to do, "" when there is nothing.
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// report collects findings.
type report struct{ findings []Finding }

func (r *report) ok(check, format string, args ...any) {
	r.findings = append(r.findings, Finding{check, OK, fmt.Sprintf(format, args...), ""})
}

func (r *report) warn(check, remedy, format string, args ...any) {
	r.findings = append(r.findings, Finding{check, Warning, fmt.Sprintf(format, args...), remedy})
}

func (r *report) fail(check, remedy, format string, args ...any) {
	r.findings = append(r.findings, Finding{check, Error, fmt.Sprintf(format, args...), remedy})
}

// Examine makes the findings, in the order in which an operator would look.
func Examine(f *Facts) []Finding {
	r := &report{}
	for _, check := range []func(*report, *Facts){
		postgres, grants, programs, configuration, settings,
		zfs, dataset, layout, delegation, properties, lineage,
		broker, permissions, storage, resources,
		peers, clocks, resync,
	} {
		check(r, f)
	}
	return r.findings
}

// Ready reports whether no finding is an error.
func Ready(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Error })
}

// Write shows the findings, one line each, a remedy on a line of its own.
func Write(w io.Writer, findings []Finding, colours bool) error {
	paint := map[Level]string{OK: "\x1b[32m", Warning: "\x1b[33m", Error: "\x1b[31m"}
	for _, f := range findings {
		level := fmt.Sprintf("%-8s", f.Level)
		if colours {
			level = paint[f.Level] + level + "\x1b[0m"
		}
		if _, err := fmt.Fprintf(w, "%s %-12s %s\n", level, f.Check, oneLine(f.Text)); err != nil {
			return err
		}
		if f.Remedy == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%21s  do: %s\n", "", oneLine(f.Remedy)); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes one document for programs.
func WriteJSON(w io.Writer, findings []Finding) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // remedies are there to be copied
	return enc.Encode(struct {
		Ready    bool      `json:"ready"`
		Findings []Finding `json:"findings"`
	}{Ready(findings), findings})
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
