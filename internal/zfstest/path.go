package zfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/progtest"
	"github.com/pgresync/pgresync/messages"
)

// InPath puts the fake first in PATH for the time of the test, for programs that
// look for zfs there. A child gets no variables of ours, so that each is a script
// that says where the pools are.
func (e *Env) InPath(tb testing.TB) {
	tb.Helper()
	dir := tb.TempDir()
	for name, program := range map[string]string{"zfs": e.Options.ZFS, "zpool": e.Options.Zpool} {
		script := fmt.Sprintf("#!/bin/sh\n%s exec '%s' \"$@\"\n", strings.Join(quoted(e.Options.Env), " "), program)
		if err := progtest.Write(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func quoted(env []string) []string {
	var out []string
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		out = append(out, key+"='"+value+"'")
	}
	return out
}

// Mounted makes a file system below the root that claims to be mounted at dir.
func (e *Env) Mounted(tb testing.TB, name, dir string, props ...string) messages.Dataset {
	tb.Helper()
	d, err := messages.ParseDataset(string(e.Root) + "/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	args := []string{"create", "-o", "mountpoint=" + dir}
	for _, p := range props {
		args = append(args, "-o", p)
	}
	e.Tool(tb, append(args, string(d))...)
	return d
}
