package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exposure is the most that `systemd-analyze security` may find, times ten. The
// secondary's is what root and mounting cost; each is what version 252 says today.
var exposure = map[string]string{"primary": "17", "secondary": "53"}

func systemdAnalyze(t *testing.T) string {
	t.Helper()
	program := os.Getenv("PGRESYNC_TEST_SYSTEMD_ANALYZE")
	if program == "" {
		t.Skip("it takes ten seconds; `make test-packages` runs it, and gets systemd-analyze where it is missing")
	}
	return program
}

func TestSystemdTakesTheUnits(t *testing.T) {
	analyze := systemdAnalyze(t)
	for side, most := range exposure {
		name := "pgresync-" + side + ".service"
		text, err := os.ReadFile(filepath.Join("systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		// It looks whether the program is there.
		there := strings.Replace(string(text), "ExecStart=/usr/bin/"+side+"-sidecar", "ExecStart=/bin/true", 1)
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(there), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
		}
		out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--threshold="+most, path).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze security %s: %v: more exposed than %s tenths\n%s", name, err, most, out)
		}
	}
}
