package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var source = regexp.MustCompile(`src: (?:"([^"]+)"|([^",}]+))`)

func TestEverythingPackedIsThere(t *testing.T) {
	text, err := os.ReadFile("nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := source.FindAllStringSubmatch(string(text), -1)
	if len(found) < 10 {
		t.Fatalf("%d sources in nfpm.yaml: the test looks for them wrongly", len(found))
	}
	for _, m := range found {
		pattern := strings.Replace(m[1]+m[2], "${PKG_BIN}/", "cmd/", 1)
		if files, err := filepath.Glob(filepath.Join("..", pattern)); err != nil || len(files) == 0 {
			t.Errorf("nfpm.yaml: there is no %s: %v", pattern, err)
		}
	}
}

func TestExampleConfigurationIsCommentOrAssignment(t *testing.T) {
	files, err := filepath.Glob("etc/*.env")
	if err != nil || len(files) != 3 {
		t.Fatalf("got %v, %v, want three files", files, err)
	}
	for _, file := range files {
		for key, value := range readEnvironment(t, file) {
			if !strings.HasPrefix(key, "PGRESYNC_") || value == "" {
				t.Errorf("%s: %s=%q", file, key, value)
			}
		}
	}
}

// readEnvironment reads the notation that systemd and the shell have in common.
func readEnvironment(t testing.TB, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found || (strings.Contains(value, " ") && !strings.HasPrefix(value, `"`)) {
			t.Errorf("%s: %q is no assignment, for systemd or for the shell", path, line)
		}
		env[key] = strings.Trim(value, `"`)
	}
	return env
}

func TestScriptsAreShell(t *testing.T) {
	var files []string
	for _, pattern := range []string{"deb/*", "rpm/*", "freebsd/*"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %v, %v", pattern, more, err)
		}
		files = append(files, more...)
	}
	for _, file := range files {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// What FreeBSD's rc gives a meaning of its own (rc.subr(8)) is not ours to use.
func TestFreeBSDScriptsKeepOffTheVariablesOfRC(t *testing.T) {
	for _, side := range []string{"primary", "secondary"} {
		text, err := os.ReadFile("freebsd/pgresync_" + side)
		if err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"env", "env_file", "group", "chdir", "chroot", "flags", "limits", "nice", "fib", "program", "svcj"} {
			if regexp.MustCompile(`pgresync_` + side + `_` + suffix + `\b`).Match(text) {
				t.Errorf("%s: pgresync_%s_%s means something else to rc.subr", side, side, suffix)
			}
		}
	}
}

func TestContainerfileCopiesWhatDistLeaves(t *testing.T) {
	text, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages, copied := map[string]bool{}, map[string]bool{}
	known := map[string]bool{"ARG": true, "FROM": true, "COPY": true, "RUN": true, "USER": true, "ENTRYPOINT": true, "CMD": true}
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if !known[f[0]] {
			t.Errorf("%q is no instruction that this file uses", f[0])
		}
		if f[0] == "FROM" {
			stages[f[len(f)-1]] = true
		}
		for _, word := range f[1:] {
			if name, ours := strings.CutPrefix(word, "${BINARIES}/"); ours {
				copied[name] = true
			}
		}
	}
	if !stages["command"] || !stages["sidecar"] {
		t.Errorf("stages: got %v", stages)
	}
	for _, name := range []string{"pgresync", "pgresync-sign", "primary-sidecar", "secondary-sidecar"} {
		if _, err := os.Stat(filepath.Join("..", "cmd", name)); err != nil || !copied[name] {
			t.Errorf("%s is not copied, or no command: %v", name, err)
		}
	}
	if len(copied) != 4 {
		t.Errorf("copied: got %v", copied)
	}
}
