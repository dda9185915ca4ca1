package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/diagnostics"
	"github.com/pgresync/pgresync/internal/secondary"
	"github.com/pgresync/pgresync/pgops"
)

// noDiagnostics is the word for leaving none.
const noDiagnostics = "none"

// findings leaves what the service found in files, and adds what only adapters know:
// the whole of a child's complaint, and PostgreSQL's log.
type findings struct {
	dir diagnostics.Dir
	// serverLog is the end of what PostgreSQL wrote, by its data directory.
	serverLog func(dataDir string) string
}

// newDiagnostics is nil when none are wanted.
func newDiagnostics(cfg Config) secondary.Diagnostics {
	if cfg.DiagnosticsDir == noDiagnostics {
		return nil
	}
	return findings{
		dir: diagnostics.Dir{Path: cfg.DiagnosticsDir, Secrets: secretsOf(cfg)},
		serverLog: func(dataDir string) string {
			return pgops.ServerLogTail(dataDir, cfg.serverLogFile(dataDir), cfg.PGUser)
		},
	}
}

// secretsOf are all that the configuration holds or points at.
func secretsOf(cfg Config) []string {
	out := []string{
		cfg.NATS.Password.Reveal(), cfg.NATS.Token.Reveal(),
		cfg.PG.Conninfo.Value("password"), cfg.PrimaryConninfo.Value("password"), cfg.PrimaryConninfo.Value("sslpassword"),
	}
	for _, path := range []string{cfg.NATS.PasswordFile, cfg.NATS.TokenFile} {
		if b, err := os.ReadFile(path); err == nil {
			out = append(out, strings.TrimSpace(string(b)))
		}
	}
	return out
}

// Leave writes the files.
func (f findings) Leave(_ context.Context, found secondary.Findings) (string, error) {
	j := found.Journal
	var b strings.Builder
	fmt.Fprintf(&b, "resync %s of reason %s failed in phase %s\n\n%v\n", j.ID, j.Reason, j.Phase, found.Error)
	if found.Remedy != "" {
		fmt.Fprintf(&b, "\nremedy: %s\n", found.Remedy)
	}
	if child, ok := errors.AsType[*command.Error](found.Error); ok {
		fmt.Fprintf(&b, "\n%q exited with %d, and wrote to standard error:\n%s\n", child.Argv, child.ExitCode, child.Stderr)
	}
	files := []diagnostics.File{{Name: "error.txt", Text: b.String()}}
	add := func(name string, v any) error {
		text, err := json.MarshalIndent(v, "", "  ")
		files = append(files, diagnostics.File{Name: name, Text: string(text) + "\n"})
		return err
	}
	err := errors.Join(add("journal.json", j), add("facts.json", struct {
		Facts, Verdict any
	}{found.Facts, found.Verdict}))
	if found.Target != nil {
		err = errors.Join(err, add("plan.json", found.Target))
	}
	if err != nil {
		return "", err
	}
	if log := f.log(found); log != "" {
		files = append(files, diagnostics.File{Name: "postgresql.log", Text: log})
	}
	return f.dir.Write(j.ID, files)
}

// log prefers what a failed start brought along: by now the file may be another
// copy's.
func (f findings) log(found secondary.Findings) string {
	var start *pgops.StartError
	if errors.As(found.Error, &start) && start.LogTail != "" {
		return start.LogTail
	}
	if found.DataDir == "" {
		return ""
	}
	return f.serverLog(found.DataDir)
}
