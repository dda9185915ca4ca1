package secondary

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// shelf remembers what was left on it.
type shelf struct{ left []Findings }

func (s *shelf) Leave(_ context.Context, f Findings) (string, error) {
	s.left = append(s.left, f)
	return "/var/lib/pgresync/diagnostics/" + string(f.Journal.ID), nil
}

func TestAFailedResyncLeavesFindingsAndEveryLineNamesIt(t *testing.T) {
	all := stories()
	s := all[slices.IndexFunc(all, func(s story) bool { return s.name == "settings too low" })]
	var kept shelf
	var log bytes.Buffer
	var last messages.Event
	told(t, s, nil, func(w *world) {
		w.diagnostics, w.log = &kept, zerolog.SyncWriter(&log)
		w.observe = func(e messages.Event) {
			if e.Type == messages.EventNeedsOperator {
				last = e
			}
		}
	})
	if len(kept.left) == 0 {
		t.Fatal("nothing was left")
	}
	f := kept.left[len(kept.left)-1]
	if f.Error == nil || f.Journal.ID == "" || f.Target == nil || f.Facts.Primary == nil || f.DataDir == "" {
		t.Errorf("left were %+v, want the error, the journal, the target, the facts and the directory", f)
	}
	if last.Resync == nil || last.Resync.Diagnostics != "/var/lib/pgresync/diagnostics/"+string(f.Journal.ID) {
		t.Errorf("the event is %+v, want one that names the directory", last)
	}
	linesNameTheResync(t, log.String(), string(f.Journal.ID))
}

// linesNameTheResync looks at every line from the request to the end.
func linesNameTheResync(t *testing.T, log, id string) {
	t.Helper()
	begun, seen := false, 0
	for text := range strings.Lines(log) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		begun = begun || line["phase"] == string(messages.PhaseRequested)
		if !begun {
			continue
		}
		seen++
		if line["resync"] != id || strings.Count(text, `"resync":"`) != 1 {
			t.Errorf("want resync %s once in %s", id, text)
		}
		if line["phase"] == string(messages.PhaseNeedsOperator) {
			if line["level"] != "error" {
				t.Errorf("want an error, for a person has to look: %s", text)
			}
			return
		}
	}
	t.Errorf("%d lines, and none that ends the resync in needs-operator", seen)
}
