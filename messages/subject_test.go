package messages_test

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// Operators type these names and servers' permissions list them: they never change.
func TestSubjectsAreStable(t *testing.T) {
	s := messages.Subjects{Cluster: "main"}
	for got, want := range map[string]string{
		s.Stream():                              "PGRESYNC_main",
		s.PartsStream():                         "PGRESYNC_main_PARTS",
		s.Bucket():                              "pgresync-main",
		s.PresenceBucket():                      "pgresync-main_nodes",
		s.Events():                              "pgresync.main.event.>",
		s.Event(messages.EventRejoined, "db2"):  "pgresync.main.event.rejoined.db2",
		s.EventsOf(messages.EventSnapshotReady): "pgresync.main.event.snapshot-ready.*",
		s.Triggers():                            "pgresync.main.trigger.>",
		s.TriggerSnapshot():                     "pgresync.main.trigger.snapshot",
		s.TriggerResync("db2"):                  "pgresync.main.trigger.resync.db2",
		s.TriggerResync(messages.AllNodes):      "pgresync.main.trigger.resync.all",
		s.Parts():                               "pgresync.main.stream.>",
		s.StreamParts(streamID, msgID):          "pgresync.main.stream." + string(streamID) + "." + string(msgID) + ".>",
		s.Part(streamID, msgID, 7):              "pgresync.main.stream." + string(streamID) + "." + string(msgID) + ".part.00000007",
		s.StreamEnd(streamID, msgID):            "pgresync.main.stream." + string(streamID) + "." + string(msgID) + ".end",
		s.Consumed(streamID, msgID):             "pgresync.main.consumed." + string(streamID) + "." + string(msgID),
		s.Service("db1", "facts", "db2"):        "pgresync.main.svc.db1.facts.db2",
		s.ServiceOf("db1", "facts"):             "pgresync.main.svc.db1.facts.*",
		messages.PartObject(streamID, msgID, 7): string(streamID) + "/" + string(msgID) + "/00000007",
		messages.LeaseKey:                       "lease",
		messages.StreamKey(streamID):            "stream." + string(streamID),
		messages.NodeKey("db2", "secondary"):    "node.db2.secondary",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParseTrigger(t *testing.T) {
	s := messages.Subjects{Cluster: "main"}
	for _, tt := range []struct {
		subject string
		want    messages.TriggerTarget
		err     string
	}{
		{s.TriggerSnapshot(), messages.TriggerTarget{Snapshot: true}, ""},
		{s.TriggerResync("db-2"), messages.TriggerTarget{Node: "db-2"}, ""},
		{s.TriggerResync(messages.AllNodes), messages.TriggerTarget{All: true}, ""},
		{"", messages.TriggerTarget{}, "want pgresync.main.trigger"},
		{"pgresync.other.trigger.snapshot", messages.TriggerTarget{}, "want pgresync.main.trigger"},
		{"pgresync.main.trigger.", messages.TriggerTarget{}, "<node|all>"},
		{"pgresync.main.trigger.snapshot.db2", messages.TriggerTarget{}, "<node|all>"},
		{"pgresync.main.trigger.destroy.db2", messages.TriggerTarget{}, "<node|all>"},
		{"pgresync.main.trigger.resync", messages.TriggerTarget{}, "<node|all>"},
		{"pgresync.main.trigger.resync.", messages.TriggerTarget{}, "node name"},
		{"pgresync.main.trigger.resync.db2.x", messages.TriggerTarget{}, "node name"},
		{"pgresync.main.trigger.resync.*", messages.TriggerTarget{}, "node name"},
		{"pgresync.main.trigger.resync.DB2", messages.TriggerTarget{}, "node name"},
	} {
		got, err := s.ParseTrigger(tt.subject)
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("ParseTrigger(%q) = %v, %v, want an error about %q", tt.subject, got, err, tt.err)
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("ParseTrigger(%q) = %v, %v, want %v", tt.subject, got, err, tt.want)
		}
	}
}
