package zfsops

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

var kinds = map[string]error{
	"unknown": nil, "exists": messages.ErrExists, "not found": messages.ErrNotFound, "busy": messages.ErrBusy,
	"no space": messages.ErrNoSpace, "permission": messages.ErrPermission, "token": messages.ErrTokenInvalid,
	"unavailable": messages.ErrUnavailable, "stream ended early": messages.ErrStreamCut,
	"stream is not the announced one": messages.ErrStreamMismatch,
}

// captured reads testdata/stderr: "== kind" before each text. 2.3.9 was captured
// on Debian 13; what is in 2.1.11 is from its sources: another text, or one not captured.
func captured(tb testing.TB, each func(version, kind, text string)) {
	tb.Helper()
	for _, version := range []string{"2.1.11", "2.3.9"} {
		for block := range strings.SplitSeq("\n"+string(read(tb, "stderr/"+version+".txt")), "\n== ") {
			if kind, text, ok := strings.Cut(block, "\n"); ok {
				each(version, kind, text)
			}
		}
	}
}

func TestCapturedErrorsHaveTheirKind(t *testing.T) {
	n := 0
	captured(t, func(version, kind, text string) {
		n++
		want, known := kinds[kind]
		if !known {
			t.Errorf("%s: kind %q", version, kind)
		}
		// Standard error ends in a newline, the test data perhaps not.
		for _, s := range []string{text, text + "\n"} {
			if _, got := classify(s); !errors.Is(got, want) {
				t.Errorf("%s: %q: got %v, want %v", version, s, got, want)
			}
		}
	})
	if n < 50 {
		t.Errorf("only %d texts", n)
	}
}

func TestWordsInANameAreNotAReason(t *testing.T) {
	for _, s := range []string{
		"cannot promote 'tank/dataset does not exist': not a cloned filesystem",
		"cannot mount 'tank/permission denied': no mountpoint set",
		"cannot destroy snapshot tank/dataset is busy@x: some reason that nobody knows",
	} {
		if _, kind := classify(s); kind != nil {
			t.Errorf("%s: got %v", s, kind)
		}
	}
}

func TestAnErrorSaysWhatWhereWhyAndWhatToDo(t *testing.T) {
	cause := &command.Error{Argv: []string{"zfs", "destroy", "tank/a b@x"}, ExitCode: 1, Cause: errors.New("exit status 1"), Stderr: "cannot destroy snapshot tank/a b@x: dataset is busy\n"}
	err := on("destroy snapshot", messages.SnapshotName("tank/a b@x")).failed(cause)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, messages.ErrBusy) || !errors.Is(err, error(cause)) || e.Op != "destroy snapshot" {
		t.Fatalf("got %#v", err)
	}
	want := `destroy snapshot tank/a b@x: busy: zfs destroy "tank/a b@x": exit status 1: cannot destroy snapshot tank/a b@x: dataset is busy`
	if err.Error() != want {
		t.Fatalf("got  %s\nwant %s", err, want)
	}
	e.Hint = "do something"
	if !strings.HasSuffix(e.Error(), " (do something)") {
		t.Fatalf("got %s", e)
	}
	if (act{}).failed(nil) != nil || (act{}).wrap(nil) != nil {
		t.Fatal("an error out of nothing")
	}
}

func FuzzClassify(f *testing.F) {
	captured(f, func(_, _, text string) { f.Add(text) })
	f.Fuzz(func(t *testing.T, s string) {
		if hint, kind := classify(s); kind == nil && hint != "" {
			t.Fatalf("a hint %q without a kind", hint)
		}
	})
}
