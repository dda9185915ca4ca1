package messages_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

// Every kind of document is refused for the same flaws.
func TestDecodeIsStrict(t *testing.T) {
	for _, s := range samples() {
		good, err := messages.Encode(s.doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			body []byte
			want string
		}{
			{"empty", nil, "EOF"},
			{"null", []byte("null"), "v: missing"},
			{"an empty object", []byte("{}"), "v: missing"},
			{"an array", []byte("[]"), "array"},
			{"a string", []byte(`"x"`), "string"},
			{"cut short", good[:len(good)-1], "EOF"},
			{"trailing data", append(bytes.Clone(good), '1'), "more than one"},
			{"a second document", append(bytes.Clone(good), good...), "more than one"},
			{"an unknown field", withHead(good, `{"v":1,"surprise":true`), "surprise"},
			{"no version", withHead(good, `{"v":0`), "v: missing"},
			{"a negative version", withHead(good, `{"v":-1`), "v: missing"},
			{"a newer version", withHead(good, `{"v":2,"surprise":true`), "upgrade"},
			{"a version that is text", withHead(good, `{"v":"1"`), "string"},
			{"oversized", append(bytes.Repeat([]byte(" "), messages.MaxDocument), good...), "more than the"},
			{"broken UTF-8 outside of strings", append(bytes.Clone(good), 0xff), "more than one"},
		} {
			t.Run(s.name+"/"+tt.name, func(t *testing.T) {
				err := messages.Decode(tt.body, s.zero())
				if !errors.Is(err, messages.ErrBadDocument) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Decode = %v, want ErrBadDocument about %q", err, tt.want)
				}
			})
		}
		t.Run(s.name+"/white space around it is no flaw", func(t *testing.T) {
			if err := messages.Decode([]byte("\n "+string(good)+" \n"), s.zero()); err != nil {
				t.Error(err)
			}
		})
	}
}

type unencodable struct{ F func() }

func (unencodable) Validate() error { return nil }

func TestEncodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		doc  messages.Document
		want string
	}{
		{"what is not valid", &messages.Lease{V: 1}, "cluster"},
		{"what JSON cannot write", unencodable{}, "unsupported"},
		{"what is too large", &messages.ErrorReply{V: 1, Code: "c", Error: strings.Repeat("x", messages.MaxDocument)}, "more than the"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := messages.Encode(tt.doc); !errors.Is(err, messages.ErrBadDocument) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Encode = %v, want ErrBadDocument about %q", err, tt.want)
			}
			if _, err := messages.PackProperty(tt.doc); !errors.Is(err, messages.ErrBadDocument) {
				t.Errorf("PackProperty = %v, want ErrBadDocument", err)
			}
		})
	}
}

// Numbers of 64 bits travel as strings: many JSON readers hold numbers as float64,
// and none of ours may lose a bit through them.
func TestLargeNumbersAreStrings(t *testing.T) {
	for _, s := range samples() {
		b, err := messages.Encode(s.doc)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(":18446744073709551615")) {
			t.Errorf("%s has a 64-bit number without quotes", s.name)
		}
		var any map[string]any
		if err := json.Unmarshal(b, &any); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(any)
		if err != nil {
			t.Fatal(err)
		}
		back := s.zero()
		if err := messages.Decode(again, back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.doc, back); diff != "" {
			t.Errorf("%s through a reader that knows only float64:\n%s", s.name, diff)
		}
	}
}

func TestDecodeTrigger(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       messages.Trigger
		err        string
	}{
		{"nothing", "", messages.Trigger{V: 1}, ""},
		{"blanks", " \r\n\t", messages.Trigger{V: 1}, ""},
		{"an empty object", "{}", messages.Trigger{V: 1}, ""},
		{"a full copy by hand", `{"full":true,"by":"dba"}`, messages.Trigger{V: 1, Full: true, By: "dba"}, ""},
		{"with its version", `{"v":1,"reason":"x"}`, messages.Trigger{V: 1, Reason: "x"}, ""},
		{"text that is no JSON", "now", messages.Trigger{}, "invalid"},
		{"a typing error", `{"ful":true}`, messages.Trigger{}, "ful"},
		{"a newer version", `{"v":2}`, messages.Trigger{}, "upgrade"},
		{"version 0", `{"v":0}`, messages.Trigger{}, "missing"},
		{"a long by", `{"by":"` + strings.Repeat("x", 257) + `"}`, messages.Trigger{}, "too long"},
		{"a long reason", `{"reason":"` + strings.Repeat("x", 1025) + `"}`, messages.Trigger{}, "too long"},
		{"too large", strings.Repeat(" ", 4097) + "{}", messages.Trigger{}, "more than the"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := messages.DecodeTrigger([]byte(tt.body))
			if tt.err != "" {
				if !errors.Is(err, messages.ErrBadDocument) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("DecodeTrigger = %v, want ErrBadDocument about %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("DecodeTrigger = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// What one side encodes the other can decode, also where an optional part is
// nothing but its zero value.
func TestSparseDocumentsRoundTrip(t *testing.T) {
	for _, s := range []sample{
		{
			"event", &messages.Event{V: 1, ID: msgID, Type: messages.EventFailed, Cluster: "main", Node: "db2", Resync: &messages.ResyncReport{Passes: make([]messages.PassReport, 1)}, Transfer: &messages.TransferReport{}},
			func() messages.Document { return &messages.Event{} },
		},
		{
			"status", &messages.NodeStatus{V: 1, Cluster: "main", Node: "db2", Sidecar: "secondary", Last: &messages.ResyncReport{}},
			func() messages.Document { return &messages.NodeStatus{} },
		},
		{
			"facts", &messages.PrimaryFacts{V: 1, Cluster: "main", Node: "db1", Identity: messages.Identity{SystemID: 1}, Slots: make([]messages.SlotState, 1), Datasets: make([]messages.DatasetHistory, 1)},
			func() messages.Document { return &messages.PrimaryFacts{} },
		},
	} {
		t.Run(s.name, func(t *testing.T) {
			b, err := messages.Encode(s.doc)
			if err != nil {
				t.Fatal(err)
			}
			back := s.zero()
			if err := messages.Decode(b, back); err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
			if diff := cmp.Diff(s.doc, back); diff != "" {
				t.Error(diff)
			}
		})
	}
}
