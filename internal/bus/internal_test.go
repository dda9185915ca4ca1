package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		have, want string
		covers     bool
	}{
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a.>", true},
		{"a.>", "a", false},
		{"a.>", "b.c", false},
		{">", "a", true},
		{"a.b", "a.b", true},
		{"a.b", "a.b.c", false},
		{"a.b.c", "a.b", false},
		{"a.b", "a.>", false},
		{"a.b", "a.*", false},
		{"a.*", "a.b", true},
		{"a.*", "a.*", true},
		{"a.*", "a.>", false},
		{"a.*", "a.b.c", false},
		{"a.*.c", "a.b.c", true},
		{"*.b", "a.c", false},
		{"a.*.>", "a.b.c.d", true},
		{"a.*.>", "a.b", false},
		{"a.*.>", "a.>", false},
	} {
		if got := covers(tc.have, tc.want); got != tc.covers {
			t.Errorf("covers(%q, %q) = %t", tc.have, tc.want, got)
		}
	}
}

// What a narrower pattern lets through, a wider one that covers it does too.
func TestCoversIsTransitive(t *testing.T) {
	subject := func(t *rapid.T, label string) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 1, 4).Draw(t, label)
		s := strings.Join(tokens, ".")
		if rapid.Bool().Draw(t, label+" open") {
			s += ".>"
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := subject(t, "a"), subject(t, "b"), subject(t, "c")
		if !covers(a, a) {
			t.Fatalf("%s does not cover itself", a)
		}
		if covers(a, b) && covers(b, c) && !covers(a, c) {
			t.Fatalf("%s covers %s covers %s, but not directly", a, b, c)
		}
	})
}

func FuzzLineFitsAHeader(f *testing.F) {
	for _, s := range []string{"", "a\r\nb: c", "\x00", "é", strings.Repeat("é", maxErrorText), "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := line(s)
		if got == "" || len(got) > maxErrorText || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("line(%q) = %q", s, got)
		}
		if line(got) != got {
			t.Errorf("line is not settled: %q, then %q", got, line(got))
		}
	})
}

// Terms follow each other at changing nodes; observations come in any order. One
// is refused exactly when another node is known to have held the lease later.
func TestFenceRefusesWhatIsKnownToBeSucceeded(t *testing.T) {
	type seen struct {
		node messages.NodeName
		rev  uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		var f fence
		var known []seen
		holders := rapid.SliceOfN(rapid.SampledFrom([]messages.NodeName{"a", "b", "c"}), 1, 12).Draw(t, "holder by revision")
		for range 20 {
			i := rapid.IntRange(0, len(holders)-1).Draw(t, "observation")
			s := seen{holders[i], uint64(i + 1)}
			err := f.observe(s.node, s.rev)
			succeeded := slices.ContainsFunc(known, func(o seen) bool { return o.node != s.node && o.rev > s.rev })
			if (err != nil) != succeeded {
				t.Fatalf("%+v, knowing %+v: %v", s, known, err)
			}
			known = append(known, s)
		}
	})
}

func TestServiceVersion(t *testing.T) {
	for v, want := range map[string]string{
		"1.2.3": "1.2.3", "v1.2.3": "1.2.3", "v1.2.3-rc.1": "1.2.3-rc.1", "": "0.0.0", "v": "0.0.0", "devel": "0.0.0", "1.2": "0.0.0",
		"v0.0.0-20261122-abcdef+dirty": "0.0.0",
	} {
		if got := serviceVersion(v); got != want {
			t.Errorf("serviceVersion(%q) = %q, want %q", v, got, want)
		}
	}
}

func TestThrottleReportsARowOfEqualErrorsOnce(t *testing.T) {
	var n int
	tr := newThrottle(func(error) { n++ })
	a, b := errors.New("a"), errors.New("b")
	for _, err := range []error{a, a, b, b, a} {
		tr.error(err)
	}
	if n != 3 {
		t.Errorf("reported %d times, want 3", n)
	}
	tr.reset()
	tr.error(a)
	if n != 4 {
		t.Errorf("after a recovery reported %d times, want 4", n)
	}
}

func TestClassify(t *testing.T) {
	api := func(code int, jsCode jetstream.ErrorCode) error {
		return &jetstream.APIError{Code: code, ErrorCode: jsCode}
	}
	for what, tc := range map[string]struct{ err, want error }{
		"no leader":       {api(503, 10008), messages.ErrUnavailable},
		"discard new":     {api(503, codeMaxBytes), messages.ErrNoSpace},
		"disk full":       {api(500, codeNoStorage), messages.ErrNoSpace},
		"memory full":     {api(500, codeNoMemory), messages.ErrNoSpace},
		"no stream":       {jetstream.ErrStreamNotFound, messages.ErrNotFound},
		"no stream's API": {api(404, 10059), messages.ErrNotFound},
	} {
		if got := classify(tc.err); !errors.Is(got, tc.want) || !errors.Is(got, tc.err) {
			t.Errorf("%s: got %v", what, got)
		}
	}
	down := classify(classify(fmt.Errorf("publish: %w", nats.ErrReconnectBufExceeded)))
	if got, want := down.Error(), "unavailable: not connected to NATS: publish: nats: outbound buffer limit exceeded"; got != want {
		t.Errorf("without a connection: got %q, want %q", got, want)
	}
	if classify(nil) != nil {
		t.Error("classify(nil) is an error")
	}
	other := errors.New("other")
	if got := classify(other); got != other { //nolint:errorlint // identity is the point
		t.Errorf("an unknown error became %v", got)
	}
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	b := newBackoff(time.Nanosecond, 8*time.Nanosecond)
	for range 10 {
		if err := b.sleep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b.next != b.limit {
		t.Errorf("next is %s, want %s", b.next, b.limit)
	}
}

func TestCommonFilter(t *testing.T) {
	for want, subjects := range map[string][]string{
		"a.b":     {"a.b"},
		"a.r.*":   {"a.r.db2", "a.r.all"},
		"a.*.x":   {"a.b.x", "a.c.x", "a.d.x"},
		"a.>":     {"a.b.x", "a.c"},
		"a.b.c.>": {"a.b.c.d", "a.b.c.d.e.f"},
	} {
		if got := commonFilter(subjects); got != want {
			t.Errorf("%q: got %s, want %s", subjects, got, want)
		}
		for _, s := range subjects {
			if !covers(commonFilter(subjects), s) {
				t.Errorf("%s does not cover %s", commonFilter(subjects), s)
			}
		}
	}
}

// slow has an event of each of many nodes, and takes its time for one.
type slow struct{ jetstream.JetStream }

func (slow) Stream(context.Context, string) (jetstream.Stream, error) { return slowStream{}, nil }

type slowStream struct{ jetstream.Stream }

func (slowStream) Info(context.Context, ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info := &jetstream.StreamInfo{State: jetstream.StreamState{Subjects: map[string]uint64{}}}
	for i := range 10 {
		info.State.Subjects[fmt.Sprintf("pgresync.main.event.verdict.db%d", i)] = 1
	}
	return info, nil
}

func (slowStream) GetLastMsgForSubject(ctx context.Context, _ string) (*jetstream.RawStreamMsg, error) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return &jetstream.RawStreamMsg{Time: time.Now()}, nil
	}
}

func TestLastSeenHasADeadlineForEachSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Bus{cfg: Config{Cluster: "main"}, names: messages.Subjects{Cluster: "main"}, js: slow{}}
		seen, err := b.LastSeen(t.Context())
		if err != nil || len(seen) != 10 {
			t.Errorf("seen %v, %v", seen, err)
		}
	})
}
