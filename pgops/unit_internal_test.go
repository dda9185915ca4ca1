package pgops

import (
	"errors"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// The states are those of systemctl --state=help (252) for services.
func TestParseShow(t *testing.T) {
	for name, tt := range map[string]struct {
		out  string
		runs bool
		pid  int
		err  bool
		kind error
	}{
		"active":              {"MainPID=4711\nLoadState=loaded\nActiveState=active\nSubState=running\n", true, 4711, false, nil},
		"another order":       {"ActiveState=active\nSubState=running\nLoadState=loaded\nMainPID=4711\n", true, 4711, false, nil},
		"starting":            {"MainPID=0\nLoadState=loaded\nActiveState=activating\nSubState=start\n", true, 0, false, nil},
		"about to restart":    {"MainPID=0\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n", true, 0, false, nil},
		"stopping":            {"MainPID=4711\nLoadState=loaded\nActiveState=deactivating\nSubState=stop-sigterm\n", true, 4711, false, nil},
		"reloading":           {"MainPID=4711\nLoadState=loaded\nActiveState=reloading\nSubState=reload\n", true, 4711, false, nil},
		"stopped":             {"MainPID=0\nLoadState=loaded\nActiveState=inactive\nSubState=dead\n", false, 0, false, nil},
		"failed":              {"MainPID=0\nLoadState=loaded\nActiveState=failed\nSubState=failed\n", false, 0, false, nil},
		"a state to come":     {"MainPID=0\nLoadState=loaded\nActiveState=refreshing\nSubState=x\n", true, 0, false, nil},
		"not found":           {"MainPID=0\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n", false, 0, true, messages.ErrNotFound},
		"masked":              {"MainPID=0\nLoadState=masked\nActiveState=inactive\nSubState=dead\n", false, 0, true, messages.ErrNotFound},
		"Debian's for all":    {"MainPID=0\nLoadState=loaded\nActiveState=active\nSubState=exited\n", false, 0, true, messages.ErrRefused},
		"exited, with a rest": {"MainPID=4711\nLoadState=loaded\nActiveState=active\nSubState=exited\n", true, 4711, false, nil},
		"nothing":             {"", false, 0, true, nil},
		"no number":           {"MainPID=x\nLoadState=loaded\nActiveState=active\nSubState=running\n", false, 0, true, nil},
		"not even the states": {"MainPID=1\n", false, 0, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unit{name: "pg.service"}.parse(tt.out)
			if (err != nil) != tt.err || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Fatalf("got error %v, want one: %v (%v)", err, tt.err, tt.kind)
			}
			if got.runs != tt.runs || got.pid != tt.pid {
				t.Errorf("got %+v, want runs %v, process %d", got, tt.runs, tt.pid)
			}
		})
	}
}
