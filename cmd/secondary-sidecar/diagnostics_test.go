package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/internal/secondary"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

const password = "correct-horse-battery"

func found(cause error) secondary.Findings {
	j := resync.NewJournal()
	j.ID, j.Phase, j.Reason = messages.NewResyncID(time.Now()), messages.PhaseStarting, messages.ReasonWALGone
	return secondary.Findings{
		Journal: j, Error: cause, Remedy: "look at the log", DataDir: "/nowhere",
		Facts:   plan.Facts{Node: "db2", PrimaryErr: "nats://sidecar:" + password + "@db1:4222: no answer"},
		Verdict: plan.Diagnosis{Verdict: messages.VerdictResync, Reason: messages.ReasonWALGone},
		Target:  &messages.Manifest{ID: messages.NewSnapshotID(time.Now())},
	}
}

func leave(t *testing.T, f secondary.Findings) (read func(name string) string) {
	t.Helper()
	cfg := Config{DiagnosticsDir: filepath.Join(t.TempDir(), "d"), PGUser: "nobody-of-this-name"}
	cfg.NATS.Password = password
	path, err := newDiagnostics(cfg).Leave(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(path, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), password) {
			t.Errorf("%s holds the password: %s", file.Name(), b)
		}
	}
	return func(name string) string {
		b, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
}

func TestABundleExplainsAFailedStart(t *testing.T) {
	start := &pgops.StartError{DataDir: "/pg", LogTail: "FATAL:  could not open file \"base/1\"\nLOG: primary_conninfo = 'password=" + password + "'\n", Cause: errors.New("exit status 1")}
	read := leave(t, found(fmt.Errorf("start: %w", start)))
	for name, want := range map[string]string{
		"error.txt": "failed in phase starting", "journal.json": `"phase": "starting"`, "facts.json": `"wal-gone"`,
		"plan.json": `"id"`, "postgresql.log": "could not open file",
	} {
		if got := read(name); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", name, got, want)
		}
	}
}

func TestABundleHasAllThatTheLastChildComplainedOf(t *testing.T) {
	long := strings.Repeat("warning: not this\n", 200) + "cannot receive: the real reason\n"
	child := &command.Error{Argv: []string{"zfs", "recv", "tank/x"}, ExitCode: 1, Stderr: long, Cause: errors.New("exit status 1")}
	read := leave(t, found(fmt.Errorf("receive: %w", child)))
	if got := read("error.txt"); !strings.Contains(got, "the real reason") || strings.Count(got, "not this") < 200 || !strings.Contains(got, "remedy: look at the log") {
		t.Errorf("error.txt: %q, want the whole of it, and the remedy", got)
	}
}

func TestNoDiagnosticsWhereNoneAreWanted(t *testing.T) {
	if d := newDiagnostics(Config{DiagnosticsDir: noDiagnostics}); d != nil {
		t.Errorf("got %v, want none", d)
	}
}
