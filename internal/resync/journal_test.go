package resync_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func fullJournal() resync.Journal {
	j := resync.Journal{
		V: 1, ID: messages.NewResyncID(now), Phase: messages.PhaseProving, Reason: messages.ReasonSlotLost,
		Evidence: "its slot is lost", Full: true, Trigger: true, Consent: true, By: "dba", StartedAt: now, Due: now.Add(time.Minute),
		Attempts: 2, Stales: 1, Blocked: messages.ReasonPromoted, Incurable: true, Proven: true, Snapshot: messages.NewSnapshotID(now), Branch: "data-2",
		Slot: "pgresync_db2_x", DownSince: now, DownMillis: 900, TakenBack: true, Diverged: true, Error: "cut", Remedy: "wait", Diagnostics: "/var/lib/pgresync/diagnostics/x",
		Passes: []messages.PassReport{{Snapshot: messages.NewSnapshotID(now), Kind: messages.PassSeed, Bytes: 1 << 40, Millis: 1e6}},
	}
	j.Begin(now)
	return j
}

func TestJournalSurvivesAProperty(t *testing.T) {
	want := fullJournal()
	packed, err := messages.PackProperty(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got resync.Journal
	if err := messages.UnpackProperty(packed, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("journal changed (-want +got):\n%s", diff)
	}
}

// Whatever ends up in a journal, once clipped it is valid and fits: a journal that
// cannot be written would stop the machine between two phases.
func TestClippedJournalAlwaysFits(t *testing.T) {
	text := rapid.Custom(func(t *rapid.T) string {
		n := rapid.IntRange(0, 1500).Draw(t, "bytes")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		b := make([]byte, n)
		ascii := rapid.Bool().Draw(t, "ascii")
		for i := range b {
			if b[i] = byte(rnd.Uint32()); ascii {
				b[i] = ' ' + b[i]%95
			}
		}
		return string(b)
	})
	rapid.Check(t, func(t *rapid.T) {
		j := fullJournal()
		j.Evidence, j.Error, j.Remedy, j.By = text.Draw(t, "evidence"), text.Draw(t, "error"), text.Draw(t, "remedy"), text.Draw(t, "by")
		j.Branch = messages.RelName(strings.Repeat("b", 200))
		for range rapid.IntRange(0, 40).Draw(t, "passes") {
			j.Passes = append(j.Passes, messages.PassReport{
				Snapshot: messages.NewSnapshotID(now), Base: messages.NewSnapshotID(now), Kind: messages.PassIncrement,
				Bytes: rand.Uint64(), Millis: rand.Int64(),
			})
			j.Begin(now.Add(time.Duration(rand.Int64N(1 << 50))))
			j.Obey(&messages.Trigger{Signature: fmt.Sprint(rand.Uint64()), ExpiresAt: now.Add(time.Duration(rand.Int64N(1 << 50)))}, now)
		}
		j.Clip()
		packed, err := messages.PackProperty(&j)
		if err != nil {
			t.Fatal(err)
		}
		var back resync.Journal
		if err := messages.UnpackProperty(packed, &back); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNewJournalIsValidAndIdle(t *testing.T) {
	j := resync.NewJournal()
	if err := j.Validate(); err != nil || j.Phase != messages.PhaseIdle {
		t.Errorf("NewJournal: phase %s, %v", j.Phase, err)
	}
}

func TestJournalValidate(t *testing.T) {
	long := strings.Repeat("x", resync.MaxText+1)
	for _, tt := range []struct {
		name   string
		change func(*resync.Journal)
		want   string
	}{
		{"no version", func(j *resync.Journal) { j.V = 0 }, "version"},
		{"a newer version", func(j *resync.Journal) { j.V = 2 }, "version"},
		{"an unknown phase", func(j *resync.Journal) { j.Phase = "dancing" }, `"dancing"`},
		{"long evidence", func(j *resync.Journal) { j.Evidence = long }, "evidence"},
		{"a long error", func(j *resync.Journal) { j.Error = long }, "error"},
		{"a long remedy", func(j *resync.Journal) { j.Remedy = long }, "remedy"},
		{"a long by", func(j *resync.Journal) { j.By = long }, "by"},
		{"a long slot", func(j *resync.Journal) { j.Slot = strings.Repeat("s", 64) }, "slot"},
		{"many passes", func(j *resync.Journal) { j.Passes = make([]messages.PassReport, 17) }, "passes"},
		{"many obeyed", func(j *resync.Journal) { j.Obeyed = make([]resync.Obeyed, 9) }, "obeyed"},
		{"a digest that is none", func(j *resync.Journal) { j.Obeyed = []resync.Obeyed{{Digest: "x"}} }, "obeyed"},
		{"many starts", func(j *resync.Journal) { j.Begun = make([]time.Time, 33) }, "begun"},
		{"negative attempts", func(j *resync.Journal) { j.Attempts = -1 }, "attempts"},
		{"negative stales", func(j *resync.Journal) { j.Stales = -1 }, "stales"},
		{"no id where work is done", func(j *resync.Journal) { j.ID = "" }, "id"},
		{"a switch without a snapshot", func(j *resync.Journal) { j.Phase, j.Snapshot = messages.PhaseSwitching, "" }, "snapshot"},
		{"a revert without a branch", func(j *resync.Journal) { j.Phase, j.Branch = messages.PhaseReverting, "" }, "branch"},
		{"planning without an id", func(j *resync.Journal) { j.Phase, j.ID = messages.PhasePlanning, "" }, "id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := fullJournal()
			tt.change(&j)
			if err := j.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate = %v, want a complaint about %s", err, tt.want)
			}
			if _, err := messages.PackProperty(&j); !errors.Is(err, messages.ErrBadDocument) {
				t.Errorf("PackProperty = %v, want ErrBadDocument", err)
			}
		})
	}
}

func TestASignedTriggerIsObeyedOnce(t *testing.T) {
	signed := func(name string, life time.Duration) *messages.Trigger {
		return &messages.Trigger{Signature: name, ExpiresAt: now.Add(life)}
	}
	j := resync.NewJournal()
	if !j.Obey(signed("a", time.Minute), now) || j.Obey(signed("a", time.Minute), now) || !j.Obey(signed("b", time.Hour), now) {
		t.Error("want a once, and b")
	}
	packed, err := messages.PackProperty(&j)
	if err != nil {
		t.Fatal(err)
	}
	var back resync.Journal // after a restart
	if err := messages.UnpackProperty(packed, &back); err != nil {
		t.Fatal(err)
	}
	if back.Obey(signed("a", time.Minute), now) {
		t.Error("a was obeyed again after a restart")
	}
	// What expired can be forgotten: the sidecar refuses it by its time.
	if !back.Obey(signed("c", time.Hour), now.Add(2*time.Minute)) || len(back.Obeyed) != 2 {
		t.Errorf("remembered are %v, want b and c", back.Obeyed)
	}
	for range 2 {
		if !j.Obey(&messages.Trigger{}, now) {
			t.Error("without signatures every trigger is a new one")
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"short text stays", "as it is", "as it is"},
		{"control characters become spaces", "a\nb\x00c", "a b c"},
		{"broken UTF-8 becomes spaces", "a\xffb", "a b"},
		{"the cut is between characters", strings.Repeat("é", 10), "ééé…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := resync.Clip(tt.in, 10)
			if got != tt.want || len(got) > 10 || !utf8.ValidString(got) {
				t.Errorf("Clip(%q, 10) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestBeginKeepsTheNewestStartsAndSharesNothing(t *testing.T) {
	j := resync.NewJournal()
	for i := range resync.MaxBegun + 3 {
		j.Begin(now.Add(time.Duration(i) * time.Minute))
	}
	before := j
	j.Begin(now.Add(time.Hour * 2))
	if len(j.Begun) != resync.MaxBegun || !j.Begun[len(j.Begun)-1].Equal(now.Add(2*time.Hour)) {
		t.Errorf("begun has %d entries, last %v", len(j.Begun), j.Begun[len(j.Begun)-1])
	}
	if last := before.Begun[len(before.Begun)-1]; last.Equal(now.Add(2 * time.Hour)) {
		t.Error("a copy of the journal changed with it")
	}
}

func TestBackOff(t *testing.T) {
	for _, tt := range []struct {
		attempts int
		rnd      float64
		want     time.Duration
	}{
		{0, 0.5, 5 * time.Second},
		{1, 0.5, 5 * time.Second},
		{2, 0.5, 10 * time.Second},
		{5, 0.5, 80 * time.Second},
		{1, 0, 3750 * time.Millisecond},
		{2, 1, 12500 * time.Millisecond},
		{8, 0.5, 10 * time.Minute},
		{1 << 30, 1, 10 * time.Minute},
		{1 << 30, 0, 450 * time.Second},
	} {
		if got := resync.BackOff(tt.attempts, tt.rnd); got != tt.want {
			t.Errorf("BackOff(%d, %v) = %v, want %v", tt.attempts, tt.rnd, got, tt.want)
		}
	}
}

func TestBackOffStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := resync.BackOff(rapid.Int().Draw(t, "attempts"), rapid.Float64().Draw(t, "rnd"))
		if d < 3*time.Second || d > 10*time.Minute {
			t.Fatalf("BackOff = %v", d)
		}
	})
}

func TestOverBudget(t *testing.T) {
	ago := func(hours ...int) (out []time.Time) {
		for _, h := range hours {
			out = append(out, now.Add(-time.Duration(h)*time.Hour))
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		begun  []time.Time
		perDay int
		want   bool
	}{
		{"no limit", ago(1, 2, 3), 0, false},
		{"nothing begun", nil, 1, false},
		{"room left", ago(1, 2), 3, false},
		{"spent", ago(1, 2, 3), 3, true},
		{"yesterday does not count", ago(1, 2, 24, 30), 3, false},
		{"a clock set back does not reopen it", ago(-1, -2, 3), 3, true},
		{"a clock that was days ahead does not close it", ago(-48, -49, -50), 3, false},
		{"a limit beyond memory counts as what is remembered", make32(now), 1000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := resync.OverBudget(tt.begun, now, tt.perDay); got != tt.want {
				t.Errorf("OverBudget = %v, want %v", got, tt.want)
			}
		})
	}
}

func make32(t time.Time) []time.Time {
	out := make([]time.Time, resync.MaxBegun)
	for i := range out {
		out[i] = t
	}
	return out
}
