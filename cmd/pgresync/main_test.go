package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

var update = flag.Bool("update", false, "rewrite the documentation from the code")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pgresync": main})
}

// Every script has a cluster of its own on one server.
func TestScripts(t *testing.T) {
	server := natstest.Run(t)
	var fleets sync.Map // by the script's directory; scripts run side by side
	var count atomic.Int32
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			cluster := messages.ClusterName(fmt.Sprintf("c%d", count.Add(1)))
			f, err := startFleet(server.URL(), cluster)
			if err != nil {
				return err
			}
			env.Defer(f.close)
			fleets.Store(env.WorkDir, f)
			// A raced program otherwise waits a second at its exit.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("PGRESYNC_CLUSTER", string(cluster))
			env.Setenv("PGRESYNC_NATS_URL", server.URL())
			env.Setenv("USER", "dba")
			env.Setenv("STREAM", string(f.stream.Stream))
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// exits CODE COMMAND… runs a command that must end with that exit code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if err := ts.Exec(args[1], args[2:]...); exitCode(err) != want {
					ts.Fatalf("got %v, want exit code %d", err, want)
				}
			},
			// fleet VERB [ARG…] changes what the fake sidecars say.
			"fleet": func(ts *testscript.TestScript, _ bool, args []string) {
				f, _ := fleets.Load(ts.Getenv("WORK"))
				if err := f.(*fleet).do(args); err != nil {
					ts.Fatalf("fleet %s: %v", strings.Join(args, " "), err)
				}
			},
		},
	})
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

func TestDocumentationIsUpToDate(t *testing.T) {
	root := (&app{}).command()
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	compare(t, "../../docs/pgresync.md", markdown(root))
	const reference = "../../docs/configuration.md"
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	table, err := settings.ReplaceTable(string(text), "pgresync", new(Config))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, reference, table)
	names, err := settings.VariableNames(new(Config))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "../../internal/daemon/settings/variables/pgresync.txt", names)
}

func compare(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is out of date, run `make docs` (-want +got):\n%s", file, diff)
	}
}
