package messages_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgresync/pgresync/messages"
)

func TestOperatorRequestsSayOnlyWhatTheirVerbUses(t *testing.T) {
	for _, tt := range []struct {
		name string
		verb messages.OperatorVerb
		body string
		ok   bool
	}{
		{"an empty body is the default", messages.VerbStatus, "", true},
		{"a version is not needed", messages.VerbPause, `{"reason":"disk"}`, true},
		{"a dry run of a resync", messages.VerbResync, `{"dry_run":true,"full":true,"resume":true}`, true},
		{"a dry run of a cleanup", messages.VerbCleanup, `{"dry_run":true}`, true},
		{"a pause has no dry run", messages.VerbPause, `{"dry_run":true}`, false},
		{"a cleanup cannot be full", messages.VerbCleanup, `{"full":true}`, false},
		{"a snapshot resumes nothing", messages.VerbSnapshot, `{"resume":true}`, false},
		{"a copy for somebody else to start", messages.VerbResync, `{"hand_over":true,"data_dir":"/srv/pg/17"}`, true},
		{"a pause hands nothing over", messages.VerbPause, `{"hand_over":true}`, false},
		{"all nodes hand nothing over", messages.VerbResync, `{"hand_over":true,"all":true}`, false},
		{"a directory without a copy", messages.VerbResync, `{"data_dir":"/srv/pg/17"}`, false},
		{"unknown fields", messages.VerbResync, `{"dryrun":true}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := messages.DecodeOperatorRequest(tt.verb, []byte(tt.body))
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, messages.ErrBadDocument) {
				t.Errorf("got %v, want ok %v", err, tt.ok)
			}
		})
	}
}

func TestSnapshotIDTellsItsTime(t *testing.T) {
	want := time.UnixMilli(1_795_000_000_123)
	if got, ok := messages.NewSnapshotID(want).Time(); !ok || !got.Equal(want) {
		t.Errorf("got %v, %v, want %v", got, ok, want)
	}
	if _, ok := messages.SnapshotID("nonsense").Time(); ok {
		t.Error("nonsense has a time")
	}
}
