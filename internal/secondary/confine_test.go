package secondary

import (
	"maps"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// What a stream brings does not run, unless the operator of the live copy said
// that it may.
func TestNothingThatIsReceivedRuns(t *testing.T) {
	for name, said := range map[string]map[string]string{
		"as it comes":                  {},
		"what the operator says holds": {"exec": "on"},
	} {
		t.Run(name, func(t *testing.T) {
			var increment story
			for _, s := range stories() {
				if s.name == "increment" {
					increment = s
				}
			}
			w, problems := play(t, increment, nil, func(w *world) { maps.Copy(w.pool[w.cfg.Dataset].local, said) })
			for _, p := range problems {
				t.Error(p)
			}
			seen := 0
			for d, fs := range w.pool {
				if fs.local[messages.PropCluster] == "" {
					continue
				}
				seen++
				want := map[string]string{"setuid": "off", "exec": "off", "devices": "off"}
				if d == w.cfg.Dataset && strings.HasSuffix(t.Name(), "holds") {
					maps.Copy(want, said)
				}
				for key, value := range want {
					if fs.local[key] != value {
						t.Errorf("%s: %s is %q, want %q", d, key, fs.local[key], value)
					}
				}
			}
			if seen < 2 {
				t.Errorf("%d datasets of ours in the pool", seen)
			}
		})
	}
}

// Without its key a copy that was received raw cannot be prepared: the operator is
// told what to do, what there was serves on, and then the same pass is enough.
func TestAMissingKeyAsksForTheOperator(t *testing.T) {
	missing := story{name: "key missing", seeded: true, operator: true, trigger: true, begin: func(w *world) {
		w.pub.write(10)
		w.keyMissing = true
	}}
	w, problems := play(t, missing, nil, nil)
	for _, p := range problems {
		t.Error(p)
	}
	if j := w.journal(t); !strings.Contains(j.Remedy, "zfs load-key") || j.FailedIn != messages.PhaseStaging {
		t.Errorf("failed in %s, remedy %q", j.FailedIn, j.Remedy)
	}
}
