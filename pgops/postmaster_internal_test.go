package pgops

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Without a /proc every process that lives is taken for the postmaster, except on a
// copy whose postmaster.pid is of another directory.
func TestAFreshCopyIsNotTakenForThePrimary(t *testing.T) {
	proc, primary, dir := t.TempDir(), t.TempDir(), t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dir: true, link: true, primary: false, "/not/here": false, "": false} {
		text := fmt.Sprintf("%d\n%s\n1764400000\n5432\n", os.Getpid(), path)
		if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, runs := runsOnCopy(proc, dir); runs != want || pid != os.Getpid() {
			t.Errorf("%q: got %d, %v; want %v", path, pid, runs, want)
		}
		if _, who, err := postmasterIn(proc, dir); err != nil || who != ours {
			t.Errorf("%q: got %v, %v; a live data directory is not judged by a path", path, who, err)
		}
	}
}

// Where it can be seen, the working directory decides and no path does.
func TestAServerOnACopyIsSeen(t *testing.T) {
	proc, dir := t.TempDir(), t.TempDir()
	for _, pid := range []string{"self", fmt.Sprint(os.Getpid())} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(proc, pid, "cwd")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), fmt.Appendf(nil, "%d\n/elsewhere\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(proc, fmt.Sprint(os.Getpid()), "exe")
	for program, want := range map[string]bool{
		"": true, "/usr/lib/postgresql/15/bin/postgres": true, "/usr/lib/postgresql/15/bin/postgres (deleted)": true,
		"/usr/edb/as15/bin/edb-postgres": true,
		// Its working directory, which may not answer, is not even looked at.
		"/usr/bin/postfix": false,
	} {
		_ = os.Remove(exe)
		if program != "" {
			if err := os.Symlink(program, exe); err != nil {
				t.Fatal(err)
			}
		}
		if _, runs := runsOnCopy(proc, dir); runs != want {
			t.Errorf("%q: got %v, want %v", program, runs, want)
		}
	}
}
