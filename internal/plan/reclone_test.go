package plan_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// lastPass is a pass that will do: its WAL is there, and not much of it.
func lastPass() (*messages.Manifest, plan.PassPlan, *messages.PrimaryFacts) {
	f := broken().Primary
	f.Datasets = []messages.DatasetHistory{{History: messages.History{{Name: "tank/pg#pgresync-x", GUID: 7, Bookmark: true}}}}
	m := &messages.Manifest{Datasets: []messages.ManifestDataset{{GUID: 7, Travels: true}}, SystemID: 42, Timeline: line(), StartLSN: at(70), StopLSN: at(71), WALSegmentSize: seg}
	return m, plan.PassPlan{Branch: "data", Kind: messages.PassNone}, f
}

func TestReclone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*messages.Manifest, *plan.PassPlan, *messages.PrimaryFacts)
		want   bool
	}{
		{"all is there", func(*messages.Manifest, *plan.PassPlan, *messages.PrimaryFacts) {}, true},
		{"its segment is the oldest", func(_ *messages.Manifest, _ *plan.PassPlan, f *messages.PrimaryFacts) { f.OldestWAL = 70 * seg }, true},
		{"its segment has gone", func(_ *messages.Manifest, _ *plan.PassPlan, f *messages.PrimaryFacts) { f.OldestWAL = 71 * seg }, false},
		{"no word of the oldest segment", func(_ *messages.Manifest, _ *plan.PassPlan, f *messages.PrimaryFacts) { f.OldestWAL = 0 }, false},
		{"something would have to move", func(_ *messages.Manifest, p *plan.PassPlan, _ *messages.PrimaryFacts) {
			p.Kind = messages.PassIncrement
		}, false},
		{"a partial receive is in the way", func(_ *messages.Manifest, p *plan.PassPlan, _ *messages.PrimaryFacts) {
			p.Remove = []messages.RelName{"data"}
		}, false},
		{"the primary is on a newer timeline", func(m *messages.Manifest, _ *plan.PassPlan, _ *messages.PrimaryFacts) { m.Timeline.Current = 2 }, false},
		{"the primary lost it", func(_ *messages.Manifest, _ *plan.PassPlan, f *messages.PrimaryFacts) { f.Identity.LSN = at(70) }, false},
		{"the publisher does not know it, for it lost what it had sent", func(m *messages.Manifest, _ *plan.PassPlan, _ *messages.PrimaryFacts) { m.Datasets[0].GUID = 8 }, false},
		{"another cluster", func(m *messages.Manifest, _ *plan.PassPlan, _ *messages.PrimaryFacts) { m.SystemID = 43 }, false},
		{"too much to replay", func(_ *messages.Manifest, _ *plan.PassPlan, f *messages.PrimaryFacts) { f.Identity.LSN = at(200) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, pass, f := lastPass()
			tt.change(m, &pass, f)
			if ok, why := plan.Reclone(m, pass, f); ok != tt.want || ok != (why == "") {
				t.Errorf("got %v (%s), want %v", ok, why, tt.want)
			}
		})
	}
}

// Whatever the facts, a copy is made of the last pass only if it could stream (I-8).
func TestRecloneAnyFacts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, pass, f := lastPass()
		start := rapid.Uint64Range(1, 120).Draw(t, "start")
		m.StartLSN, m.StopLSN = at(start), at(start+rapid.Uint64Range(0, 3).Draw(t, "length"))
		m.Timeline.Current = messages.Timeline(rapid.IntRange(2, 4).Draw(t, "timeline"))
		m.SystemID = messages.SystemID(rapid.Uint64Range(42, 43).Draw(t, "system"))
		pass.Kind = rapid.SampledFrom([]messages.PassKind{messages.PassNone, messages.PassIncrement, messages.PassSeed}).Draw(t, "kind")
		f.OldestWAL = messages.LSN(rapid.Uint64Range(0, 120).Draw(t, "oldest")) * seg
		f.Identity.LSN = at(rapid.Uint64Range(1, 200).Draw(t, "primary"))
		f.WALSegmentSize = rapid.SampledFrom([]uint64{0, seg, 2 * seg}).Draw(t, "segment")
		ok, _ := plan.Reclone(m, pass, f)
		can := pass.Kind == messages.PassNone && m.SystemID == f.Identity.SystemID && m.Timeline.Current == f.Identity.Timeline.Current &&
			f.WALSegmentSize == m.WALSegmentSize && f.OldestWAL != 0 && f.OldestWAL <= m.StartLSN && m.StopLSN <= f.Identity.LSN
		if ok && !can {
			t.Fatalf("taken from %s to %s; the primary has %s to %s", m.StartLSN, m.StopLSN, f.OldestWAL, f.Identity.LSN)
		}
	})
}
