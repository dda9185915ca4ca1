package main

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/zfstest"
)

var update = flag.Bool("update", false, "rewrite the documentation from the code")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"primary-sidecar": main, "zfs": zfstest.Zfs, "zpool": zfstest.Zpool})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// A raced program otherwise waits a second at its exit.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
	})
}

func TestDocumentationIsUpToDate(t *testing.T) {
	const page = "../../docs/configuration.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want, err := settings.ReplaceTable(string(text), about.Name, new(Config))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, page, string(text), want)

	names, err := settings.VariableNames(new(Config))
	if err != nil {
		t.Fatal(err)
	}
	file := "../../internal/daemon/settings/variables/" + about.Name + ".txt"
	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, file, string(text), names)
}

func compare(t *testing.T, file, got, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is out of date, run `make docs` (-want +got):\n%s", file, diff)
	}
}

func TestEveryVariableIsDescribed(t *testing.T) {
	fields, err := settings.Fields(new(Config))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if n := len(f.Desc); n == 0 || f.Desc[n-1] != '.' {
			t.Errorf("%s: want a sentence that describes it, got %q", f.Key, f.Desc)
		}
	}
}
