package messages_test

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// What comes by network or environment and could reach a path, a command line, a
// subject or a connection string.
var hostile = map[string]string{
	"parent directory": "../../etc", "absolute path": "/etc/passwd", "NUL": "db\x00", "line feed": "db\n2", "carriage return": "db\r",
	"wildcard": "*", "all subjects": ">", "wildcard within": "db*", "more tokens": "db.>", "option": "-rf", "snapshot": "pool@x", "bookmark": "pool#x",
	"shell": "$(reboot)", "backquote": "`reboot`", "semicolon": "a;b", "quote": "a'b", "double quote": `a"b`, "not UTF-8": "a\xff", "right to left": "a\u202eb",
	"10 kB": strings.Repeat("a", 10_000), "10 kB of dots": strings.Repeat("../", 3_333), "empty": "",
}

func TestHostileNamesAreRefusedEverywhere(t *testing.T) {
	main := messages.Subjects{Cluster: "main"}
	parsers := map[string]func(string) error{
		"cluster": func(s string) error { _, err := messages.ParseClusterName(s); return err },
		"node":    func(s string) error { _, err := messages.ParseNodeName(s); return err },
		"dataset": func(s string) error { _, err := messages.ParseDataset(s); return err },
		"relative": func(s string) error {
			if s == "" {
				return messages.ErrBadDocument // the dataset itself
			}
			_, err := messages.ParseRelName(s)
			return err
		},
		"trigger":        func(s string) error { _, err := main.ParseTrigger(main.TriggerResync(s)); return err },
		"trigger, all":   func(s string) error { return messages.CheckTriggerSubject("pgresync." + s + ".trigger.snapshot") },
		"asker":          func(s string) error { _, err := messages.ParseAsker("pgresync.main.svc.db1.facts." + s); return err },
		"key":            func(s string) error { _, err := messages.ParseKeys([]string{s}); return err },
		"snapshot id":    func(s string) error { return orEmpty(s, new(messages.SnapshotID)) },
		"resync id":      func(s string) error { return orEmpty(s, new(messages.ResyncID)) },
		"stream id":      func(s string) error { return orEmpty(s, new(messages.StreamID)) },
		"resume token":   func(s string) error { return orEmpty(s, new(messages.ResumeToken)) },
		"guid":           func(s string) error { return orEmpty(s, new(messages.GUID)) },
		"lsn":            func(s string) error { _, err := messages.ParseLSN(s); return err },
		"host in lease":  func(s string) error { return lease(s).Validate() },
		"consumer, name": func(s string) error { return orBad(s, record(s).Validate()) },
		"attempt":        func(s string) error { return attempt(s).Validate() },
	}
	// Names that are legal in one place and mean nothing bad there.
	fine := map[string]map[string]bool{
		"host in lease":  {"absolute path": true, "parent directory": true, "option": true}, // a socket directory, or libpq's business: one value, no space
		"relative":       {"option": true},
		"attempt":        {"option": true},
		"consumer, name": {"option": true},
	}
	for name, parse := range parsers {
		for what, text := range hostile {
			if err := parse(text); err == nil && !fine[name][what] {
				t.Errorf("%s: %s is accepted", name, what)
			} else if err != nil && len(err.Error()) > 1000 {
				t.Errorf("%s: %s: the complaint has %d bytes", name, what, len(err.Error()))
			}
		}
	}
}

func orEmpty(s string, into interface{ UnmarshalText(b []byte) error }) error {
	return orBad(s, into.UnmarshalText([]byte(s)))
}

// orBad: the empty text is "none" in some documents.
func orBad(s string, err error) error {
	if s == "" {
		return messages.ErrBadDocument
	}
	return err
}

func lease(host string) *messages.Lease {
	return &messages.Lease{V: 1, Cluster: "main", Node: "db1", SystemID: 1, Timeline: 1, Host: host, Port: 5432}
}

func record(consumer string) *messages.StreamRecord {
	return &messages.StreamRecord{V: 1, Stream: streamID, Cluster: "main", Node: "db1", To: 2, Flags: messages.FlagsPlain, Attempt: msgID, Consumer: consumer}
}

func attempt(a string) *messages.StreamRecord {
	r := record("")
	r.Attempt = messages.MessageID(a)
	return r
}
