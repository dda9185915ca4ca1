package command_test

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/command"
)

func TestChildrenAreCountedByTheirProgram(t *testing.T) {
	before := command.Tallies()["sh"]
	run := func(script string) {
		_ = command.Command{Path: "/bin/sh", Args: []string{"-c", script}}.Run(t.Context())
	}
	run("exit 0")
	run("exit 3")
	_ = command.Command{Path: "/nowhere/to/be/found"}.Run(t.Context())
	long, err := command.Command{Path: "/bin/sh", Args: []string{"-c", "echo there; exec cat"}, Stdin: io.MultiReader()}.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	during := command.Tallies()["sh"]
	_ = long.Close()
	after := command.Tallies()
	delta := func(a, b command.Tally) command.Tally {
		return command.Tally{Running: b.Running - a.Running, Started: b.Started - a.Started, Failed: b.Failed - a.Failed}
	}
	if diff := cmp.Diff(command.Tally{Running: 1, Started: 3, Failed: 1}, delta(before, during)); diff != "" {
		t.Errorf("while one runs (-want +got):\n%s", diff)
	}
	if got := after["sh"].Running - before.Running; got != 0 {
		t.Errorf("after its end %d run, want 0", got)
	}
	if got := after["found"]; got.Failed != 1 || got.Started != 0 {
		t.Errorf("one that is not there: %+v, want one that failed and none that started", got)
	}
}
