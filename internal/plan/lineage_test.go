package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// kin reads lines like "l/data <- pg.pgresync-old@b: @c3 #a1": a dataset, what it
// is a clone of, and its versions; one with a "~" has a partial receive. "l" is the
// lineage's root, "pg" the live dataset.
func kin(tb testing.TB, lines ...string) plan.Kin {
	tb.Helper()
	k := plan.Kin{Root: "tank/l", Live: "tank/pg", Histories: map[messages.Dataset]messages.History{}}
	for _, line := range lines {
		head, versions, _ := strings.Cut(line, ":")
		name, origin, clone := strings.Cut(head, " <- ")
		name, partial := strings.CutSuffix(name, "~")
		d := messages.DatasetInfo{Name: "tank/" + messages.Dataset(name)}
		if partial {
			d.Token = "1-a"
		}
		if clone {
			of, at, _ := strings.Cut(origin, "@")
			d.Origin = messages.Dataset("tank/" + of).Snapshot(idOf(at[0]).ShortName())
		}
		h := history(tb, versions)
		for i := range h {
			sep := h[i].Name[strings.IndexAny(string(h[i].Name), "@#"):]
			h[i].Name = messages.SnapshotName(d.Name) + sep
		}
		k.Histories[d.Name] = h
		switch {
		case d.Name == k.Live:
			k.Origin = d.Origin
		case strings.HasPrefix(name, "l/"):
			k.Datasets = append(k.Datasets, d)
		}
	}
	return k
}

// showUpkeep writes an Upkeep like "drop x, promote y, destroy z".
func showUpkeep(u plan.Upkeep) []string {
	var out []string
	for _, d := range u.Drop {
		for c := byte('a'); c <= 'z'; c++ {
			if d.Short() == idOf(c).ShortName() {
				out = append(out, "drop "+strings.TrimPrefix(string(d.Dataset()), "tank/")+"#"+string(c))
			}
		}
	}
	for _, d := range u.Promote {
		out = append(out, "promote "+strings.TrimPrefix(string(d), "tank/"))
	}
	for _, d := range u.Destroy {
		out = append(out, "destroy "+string(d))
	}
	return out
}

func TestTend(t *testing.T) {
	for _, tt := range []struct {
		name string
		kin  []string
		want []string
	}{
		{"one branch that the live copy came from needs nothing", []string{"l/data: @a1 @b2", "pg <- l/data@b:"}, nil},
		{"a live copy of another's making says nothing of the branches", []string{"l/data: @a1", "l/data-2: @b2", "pg: @c3"}, nil},
		{"a live copy that is a clone from elsewhere neither", []string{"l/data: @a1", "x: @b2", "pg <- x@b:"}, nil},
		{
			"the branch takes over what a deposed primary had",
			[]string{"l/data <- pg.pgresync-diverged-1@a: @b9", "pg.pgresync-diverged-1: @a1 @c3 #a1", "pg <- l/data@b:"},
			[]string{"promote l/data"},
		},
		{
			"every dataset of it does",
			[]string{
				"l/data <- pg.pgresync-old@a: @b9", "l/data/ts1 <- pg.pgresync-old/ts1@a: @b9",
				"pg.pgresync-old: @a1", "pg.pgresync-old/ts1: @a1", "pg <- l/data@b:",
			},
			[]string{"promote l/data", "promote l/data/ts1"},
		},
		{
			"a bookmark on both sides would halt the pool and goes first",
			[]string{"l/data <- l/old@b: @c9 #a1", "l/old: @b2 #a1 #b2", "pg <- l/data@c:"},
			[]string{"drop l/old#a", "promote l/data"},
		},
		{
			"a foreign dataset keeps its snapshots",
			[]string{"l/data <- other@a: @b9", "other: @a1", "pg <- l/data@b:"},
			nil,
		},
		{
			"before the switch the live copy is the origin, and nothing is turned round",
			[]string{"l/data <- pg@a: @b9", "pg: @a1"},
			nil,
		},
		{
			"an older branch goes when all that is needed was taken over",
			[]string{"l/data <- l/data-2@b: @c4", "l/data-2: @a1 @b2 @d9", "pg <- l/data-2@d:"},
			[]string{"destroy data"},
		},
		{
			"but not before",
			[]string{"l/data: @a1 @b2", "l/data-2 <- l/data@b: @d9", "pg <- l/data-2@d:"},
			[]string{"promote l/data-2"},
		},
		{
			"one that is ahead was received for a switch that is yet to come",
			[]string{"l/data: @a1 @b2", "l/data-2 <- l/data@a: @d9", "pg <- l/data@b:"},
			nil,
		},
		{
			"a branch that is nothing but a partial receive goes",
			[]string{"l/data: @a1 @b2", "l/data-2:", "pg <- l/data@b:"},
			[]string{"destroy data-2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, showUpkeep(plan.Tend(kin(t, tt.kin...)))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestTendDropsNoBookmarkOfAnotherSnapshot(t *testing.T) {
	k := kin(t, "l/data <- l/old@b: @c9 #a1", "l/old: @b2 #a1", "pg <- l/data@c:")
	k.Histories["tank/l/old"][1].GUID = 4711
	if got := plan.Tend(k); len(got.Drop)+len(got.Promote)+len(got.Destroy) > 0 {
		t.Errorf("one name for two snapshots: got %v, want it left alone", showUpkeep(got))
	}
}

func TestInherited(t *testing.T) {
	for _, tt := range []struct {
		name, own, ancestors string
		most                 int
		want                 string
	}{
		{"a new copy has nothing", "", "@a1 @b2", 9, "@b2 @a1"},
		{"what is there is not made again", "#b2 @d4", "@a1 @b2", 9, "@a1"},
		{"the newest first", "", "@a1 @b2 @c3", 2, "@c3 @b2"},
		{"a bookmark will do, a snapshot is better", "", "#a1 #b2 @b2", 9, "@b2 #a1"},
		{"foreign ones are nobody's base", "", "@A1 @b2", 9, "@b2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := write(plan.Inherited(history(t, tt.own), history(t, tt.ancestors), tt.most)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTendKeepsWhatTheNextPassGoesOnWith(t *testing.T) {
	for _, tt := range []struct {
		name   string
		goesOn bool
		kin    []string
		want   []string
	}{
		{"a seed that was cut in its first dataset", true, []string{"l/data: @a1", "l/data-2~:", "pg <- l/data@a:"}, nil},
		{"in a child", true, []string{"l/data: @b2", "l/data-2: @a1", "l/data-2/ts1~:", "pg <- l/data@b:"}, nil},
		{"an older one all the same", true, []string{"l/data: @b2", "l/data-2: @a1", "l/data-3~:", "pg <- l/data@b:"}, []string{"destroy data-2"}},
		{"nobody can send the rest", false, []string{"l/data: @a1", "l/data-2~:", "pg <- l/data@a:"}, []string{"destroy data-2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := kin(t, tt.kin...)
			k.GoesOn = tt.goesOn
			if diff := cmp.Diff(tt.want, showUpkeep(plan.Tend(k))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
