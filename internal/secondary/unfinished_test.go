package secondary

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// remains is a standby's pool after a pass was cut.
type remains struct {
	ZFS
	Postgres
	manifest string
}

func (r remains) List(_ context.Context, d messages.Dataset) ([]messages.DatasetInfo, error) {
	if d != "tank/lineage" {
		return nil, messages.ErrNotFound
	}
	return []messages.DatasetInfo{{Name: d, Marks: map[string]string{messages.PropManifest: r.manifest}}}, nil
}

func (remains) Major(context.Context) (int, error) { return 15, nil }

func TestPassThatWasCutIsFinishedFirst(t *testing.T) {
	body, err := os.ReadFile("../../messages/testdata/v1/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m := &messages.Manifest{}
	if err := messages.Decode(body, m); err != nil {
		t.Fatal(err)
	}
	packed, err := messages.PackProperty(m)
	if err != nil {
		t.Fatal(err)
	}
	there := func(bookmark bool) *messages.PrimaryFacts {
		f := &messages.PrimaryFacts{}
		for _, d := range m.Travelling() {
			f.Datasets = append(f.Datasets, messages.DatasetHistory{Name: d.Name, History: messages.History{
				{Name: "tank/pg@x", GUID: d.GUID, CreateTXG: d.CreateTXG, Bookmark: bookmark},
			}})
		}
		return f
	}
	half := []plan.Branch{{
		Name: "data", Histories: map[messages.RelName]messages.History{"": nil},
		Tokens: map[messages.RelName]messages.ResumeToken{"": "1-a"},
	}}
	for name, tt := range map[string]struct {
		facts    *messages.PrimaryFacts
		branches []plan.Branch
		manifest string
		journal  resync.Journal
		want     bool
	}{
		"the publisher has its snapshots":   {there(false), half, packed, resync.Journal{}, true},
		"its snapshots are bookmarks now":   {there(true), half, packed, resync.Journal{}, false},
		"its snapshots are gone":            {&messages.PrimaryFacts{}, half, packed, resync.Journal{}, false},
		"nothing was left of it":            {there(false), nil, packed, resync.Journal{}, false},
		"its manifest is lost":              {there(false), half, "", resync.Journal{}, false},
		"a full copy is wanted":             {there(false), half, packed, resync.Journal{Full: true}, false},
		"it was that of a full copy itself": {there(false), half, packed, resync.Journal{Full: true, Branch: "data"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pool := remains{manifest: tt.manifest}
			s := New(Config{Cluster: "main", Node: "db2", Dataset: "tank/pg", Lineage: "tank/lineage"},
				Deps{ZFS: pool, Postgres: pool, Now: time.Now, Log: zerolog.Nop()})
			s.j = tt.journal
			got := s.unfinished(t.Context(), tt.facts, tt.branches, nil)
			if (got != nil) != tt.want || got != nil && got.ID != m.ID {
				t.Errorf("got %v, want it to be finished: %t", got, tt.want)
			}
		})
	}
}
