package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

type forgery func(parts []messages.Part, end *messages.StreamEnd) []messages.Part

// The announcements are part of what may be lost, repeated or forged.
func TestForgedAnnouncementsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change forgery
		want   string // of the error; "": none
	}{
		"untouched": {func(p []messages.Part, _ *messages.StreamEnd) []messages.Part { return p }, ""},
		"end of other snapshots": {
			func(p []messages.Part, e *messages.StreamEnd) []messages.Part { e.To++; return p },
			"end is of snapshots",
		},
		"end counts less": {
			func(p []messages.Part, e *messages.StreamEnd) []messages.Part { e.Parts--; return p },
			"end counts 2 parts",
		},
		"truncated": {
			func(p []messages.Part, e *messages.StreamEnd) []messages.Part {
				e.Parts, e.Size = 2, e.Size-p[2].Size
				return p[:2]
			},
			"end has another chain",
		},
		"last part lost": {
			func(p []messages.Part, _ *messages.StreamEnd) []messages.Part { return p[:2] },
			"part 2 is missing",
		},
		"swapped data": {
			func(p []messages.Part, _ *messages.StreamEnd) []messages.Part {
				p[0].Nuid, p[1].Nuid = p[1].Nuid, p[0].Nuid
				return p
			},
			"SHA-256",
		},
		"reordered": {
			func(p []messages.Part, _ *messages.StreamEnd) []messages.Part {
				p[1].Index, p[1].Offset, p[1].Object = 0, 0, p[0].Object
				return []messages.Part{p[1]}
			},
			"breaks the chain",
		},
		"other attempt": {
			func(p []messages.Part, _ *messages.StreamEnd) []messages.Part {
				p[1].Attempt = messages.NewMessageID(time.Now())
				return p
			},
			"want attempt",
		},
		"other offset": {
			func(p []messages.Part, _ *messages.StreamEnd) []messages.Part { p[1].Offset++; return p },
			"part 1 begins at byte",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *stream.Config) { c.StallTimeout = 10 * time.Second })
			o := &opener{data: noise(3*w.cfg.PartSize, 1)}
			rec := stored(t, w, o)
			forge(t, w, rec, tc.change)
			got, _, err := w.read(rec, "db2")
			wantBytes(t, got, o.data[:len(got)])
			switch {
			case tc.want == "" && (err != nil || len(got) != len(o.data)):
				t.Errorf("%d bytes, error %v; want all and none", len(got), err)
			case tc.want != "" && (!errors.Is(err, messages.ErrStreamCut) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error is %v, want ErrStreamCut with %q", err, tc.want)
			}
		})
	}
}

// forge replaces all announcements of an upload.
func forge(t *testing.T, w *world, rec messages.StreamRecord, change forgery) {
	t.Helper()
	s, err := w.js.Stream(t.Context(), w.ns.PartsStream())
	if err != nil {
		t.Fatal(err)
	}
	get := func(subject string, doc messages.Document) {
		// The end comes right after the upload calls itself complete.
		natstest.Eventually(t, 10*time.Second, subject, func() error {
			msg, err := s.GetLastMsgForSubject(t.Context(), subject)
			if err != nil {
				return err
			}
			return messages.Decode(msg.Data, doc)
		})
	}
	put := func(subject string, doc messages.Document) {
		body, err := messages.Encode(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.js.Publish(t.Context(), subject, body); err != nil {
			t.Fatal(err)
		}
	}
	parts := make([]messages.Part, 3)
	for i := range parts {
		get(w.ns.Part(rec.Stream, rec.Attempt, i), &parts[i])
	}
	var end messages.StreamEnd
	get(w.ns.StreamEnd(rec.Stream, rec.Attempt), &end)
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(w.ns.StreamParts(rec.Stream, rec.Attempt))); err != nil {
		t.Fatal(err)
	}
	for i, p := range change(parts, &end) {
		put(w.ns.Part(rec.Stream, rec.Attempt, i), &p)
	}
	put(w.ns.StreamEnd(rec.Stream, rec.Attempt), &end)
}
