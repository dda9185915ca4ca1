package secondary

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hooksRun are those that a world's sidecars ran.
type hooksRun struct{ names []string }

func (h *hooksRun) Run(_ context.Context, hook Hook, facts map[string]string) error {
	line := string(hook) + " in " + facts["PGRESYNC_PHASE"] + " of " + facts["PGRESYNC_NODE"] + " for " + facts["PGRESYNC_REASON"]
	if facts["PGRESYNC_ERROR"] != "" && hook == HookOnFailure {
		line += ": " + facts["PGRESYNC_ERROR"]
	}
	h.names = append(h.names, line)
	return errStruck // which must not matter
}

func TestHooksRunAtTheirMoments(t *testing.T) {
	const fails = "on-failure in waiting of db2 for slot-lost: start PostgreSQL in /srv/pg/main: it does not start"
	for name, want := range map[string][]string{
		"increment": {"before-stop in stopping of db2 for slot-lost", "after-rejoin in idle of db2 for slot-lost"},
		"start fails once": {
			"before-stop in stopping of db2 for slot-lost", fails, "before-stop in stopping of db2 for slot-lost",
			"after-rejoin in idle of db2 for slot-lost",
		},
		"in place": {"before-stop in clearing of db2 for slot-lost", "after-rejoin in idle of db2 for slot-lost"},
		// Nothing is stopped, and nothing is announced to be.
		"lost": {"after-rejoin in idle of db2 for no-data"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range stories() {
				if s.name != name {
					continue
				}
				w, problems := play(t, s, nil, nil)
				if diff := cmp.Diff(want, w.hooks.names); diff != "" || len(problems) > 0 {
					t.Errorf("%v, hooks (-want +got):\n%s", problems, diff)
				}
			}
		})
	}
}
