package stream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func check(t *testing.T, w *world, rec messages.StreamRecord) stream.Check {
	t.Helper()
	var seen int
	got, err := w.reader().Verify(t.Context(), rec.Stream, func(stream.Check) { seen++ })
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Attempt != rec.Attempt || seen != got[0].Parts {
		t.Fatalf("checks %+v after %d reports, want one of attempt %s", got, seen, rec.Attempt)
	}
	return got[0]
}

func TestVerifyReadsEveryPartAndLeavesNoTrace(t *testing.T) {
	w := newWorld(t, nil)
	o := &opener{data: noise(3*w.cfg.PartSize+17, 1)}
	rec := stored(t, w, o)
	before := w.info(w.ns.PartsStream()).State
	got := check(t, w, rec)
	if got.Parts != 4 || got.Good != 4 || got.First != 0 || got.Bytes != uint64(len(o.data)) || !got.Ended || len(got.Bad) > 0 {
		t.Errorf("check %+v", got)
	}
	if after := w.info(w.ns.PartsStream()).State; after.Consumers != before.Consumers || after.Msgs != before.Msgs {
		t.Errorf("it left a trace: %+v, before %+v", after, before)
	}
	// The reader it was uploaded for gets all of it still.
	data, _, err := w.read(rec, "db2")
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, data, o.data)
}

func TestVerifyNamesEveryBadPart(t *testing.T) {
	w := newWorld(t, nil)
	rec := stored(t, w, &opener{data: noise(4*w.cfg.PartSize, 1)})
	tamper(t, w, rec, 1, func(chunks [][]byte) [][]byte { chunks[2][7] ^= 1; return chunks })
	tamper(t, w, rec, 3, func(chunks [][]byte) [][]byte { return chunks[:len(chunks)-1] })
	got := check(t, w, rec)
	if got.Parts != 4 || got.Good != 2 || len(got.Bad) != 2 {
		t.Fatalf("check %+v", got)
	}
	for i, want := range []string{"part 1: ", "part 3: "} {
		if !strings.HasPrefix(got.Bad[i], want) {
			t.Errorf("complaint %q, want it to begin with %q", got.Bad[i], want)
		}
	}
}

func TestVerifyOfAStreamThatIsNotThere(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.reader().Verify(t.Context(), messages.NewStreamID(9, 8, messages.FlagsPlain, ""), nil)
	if !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if slices.Contains(w.states(), messages.StreamFailed) {
		t.Error("a stream failed")
	}
}
