package plan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestPass(t *testing.T) {
	full := plan.Options{Full: true, NewBranch: "data-n"}
	for _, tt := range []struct {
		name      string
		goal      []string
		publisher []string
		branches  []plan.Branch
		opts      plan.Options
		want      []string
	}{
		{
			"a seed when the lineage is empty",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			nil,
			plan.Options{},
			[]string{"seed data new", "data -> c full", "data/ts -> d full"},
		},
		{
			"a seed that was cut between its datasets is still one",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data-n", ".:@c13")},
			plan.Options{Full: true, NewBranch: "data-n", Current: "data-n"},
			[]string{"seed data-n", "data-n -> c have", "data-n/ts -> d full"},
		},
		{
			"an increment from the newest common snapshot",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @b2 @c3", "ts:@e1 @f2 @d3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @b12", "ts:@e11 @f12")},
			plan.Options{},
			[]string{"increment data", "data -> c from @b2", "data/ts -> d from @f2"},
		},
		{
			"a bookmark is base enough on the sending side",
			[]string{".=@c3"},
			[]string{".:#a1 #b2 @c3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @b12")},
			plan.Options{},
			[]string{"increment data", "data -> c from #b2"},
		},
		{
			"a snapshot is preferred to its bookmark",
			[]string{".=@c3"},
			[]string{".:#b2 @b2 #b2 @c3"},
			[]plan.Branch{tree(t, "data", ".:@b12")},
			plan.Options{},
			[]string{"increment data", "data -> c from @b2"},
		},
		{
			"a lineage's bookmark is no base: the receiver needs the snapshot",
			[]string{".=@c3"},
			[]string{".:@b2 @c3"},
			[]plan.Branch{tree(t, "data", ".:#b12")},
			plan.Options{NewBranch: "data-n"},
			[]string{"seed data-n new", "data-n -> c full"},
		},
		{
			"a deposed primary's own snapshot is the base, and its lineage begins as a clone of it",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:#a1 @c3", "ts:#e1 @d3"},
			nil,
			plan.Options{Live: tree(t, "", ".:@a11 #a11 @f12", "ts:@e11 @g12").Histories},
			[]string{"increment data new", "data -> c from #a1 clone of @a11", "data/ts -> d from #e1 clone of @e11"},
		},
		{
			"a newer base in the live tree is worth a new branch",
			[]string{".=@c9"},
			[]string{".:#a1 #b2 @c9"},
			[]plan.Branch{tree(t, "data", ".:@a11")},
			plan.Options{NewBranch: "data-n", Live: tree(t, "", ".:@b12").Histories},
			[]string{"increment data-n new", "data-n -> c from #b2 clone of @b12"},
		},
		{
			"an older base in the live tree is not",
			[]string{".=@c9"},
			[]string{".:#a1 #b2 @c9"},
			[]plan.Branch{tree(t, "data", ".:@b11")},
			plan.Options{NewBranch: "data-n", Live: tree(t, "", ".:@a12").Histories},
			[]string{"increment data", "data -> c from #b2"},
		},
		{
			"a bookmark in the live tree is no origin",
			[]string{".=@c9"},
			[]string{".:#a1 @c9"},
			nil,
			plan.Options{Live: tree(t, "", ".:#a12").Histories},
			[]string{"seed data new", "data -> c full"},
		},
		{
			"a full copy shares nothing with the live tree either",
			[]string{".=@c9"},
			[]string{".:#a1 @c9"},
			nil,
			plan.Options{Full: true, NewBranch: "data-n", Live: tree(t, "", ".:@a12").Histories},
			[]string{"seed data-n new", "data-n -> c full"},
		},
		{
			"nothing moves when the target is there",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data", ".:@c13", "ts:@d13")},
			plan.Options{},
			[]string{"none data", "data -> c have", "data/ts -> d have"},
		},
		{
			"what is there is not moved again",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@e1 @d3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @c13", "ts:@e11")},
			plan.Options{},
			[]string{"increment data", "data -> c have", "data/ts -> d from @e1"},
		},
		{
			"a new branch when the newest common one is not the newest in the lineage",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@e1 @d3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @x12", "ts:@e11 @y12")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n new", "data-n -> c from @a1 clone of @a11", "data-n/ts -> d from @e1 clone of @e11"},
		},
		{
			"the whole tree goes along when one dataset needs a branch",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@e1 @d3"},
			[]plan.Branch{tree(t, "data", ".:@a11", "ts:@e11 @Y12")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n new", "data-n -> c from @a1 clone of @a11", "data-n/ts -> d from @e1 clone of @e11"},
		},
		{
			"a child that is new on the publisher is received in full",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data", ".:@a11")},
			plan.Options{},
			[]string{"increment data", "data -> c from @a1", "data/ts -> d full"},
		},
		{
			"a child that an interrupted branch lacks is cloned from where its base is",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@e1 @d3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @x12", "ts:@e11 @y12"), tree(t, "data-n", ".:@c13")},
			plan.Options{NewBranch: "data-o", Current: "data-n"},
			[]string{"increment data-n", "data-n -> c have", "data-n/ts -> d from @e1 clone of @e11"},
		},
		{
			"another lineage is kept aside when nothing is common",
			[]string{".=@c3"},
			[]string{".:@c3"},
			[]plan.Branch{tree(t, "data", ".:@x11")},
			plan.Options{NewBranch: "data-n"},
			[]string{"seed data-n new", "data-n -> c full"},
		},
		{
			"the branch with the newest base wins",
			[]string{".=@c9"},
			[]string{".:@a1 @b2 @c9"},
			[]plan.Branch{tree(t, "data", ".:@a11"), tree(t, "data-2", ".:@b12"), tree(t, "data-3", ".:@x99")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-2", "data-2 -> c from @b2"},
		},
		{
			"a newer base is worth a new branch",
			[]string{".=@c9"},
			[]string{".:@a1 @b2 @c9"},
			[]plan.Branch{tree(t, "data", ".:@a11 @b12 @x13"), tree(t, "data-2", ".:@a11")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n new", "data-n -> c from @b2 clone of @b12"},
		},
		{
			"never backwards: a common bookmark newer than the target is no base",
			[]string{".=@c3"},
			[]string{".:@a1 @c3 #b5"},
			[]plan.Branch{tree(t, "data", ".:@a11 @b15")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n new", "data-n -> c from @a1 clone of @a11"},
		},
		{
			"order is the publisher's createtxg, not the manifest's of another pool",
			[]string{".=@c900"},
			[]string{".:@a1 @c3 @b5"},
			[]plan.Branch{tree(t, "data", ".:@a11 @b15")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n new", "data-n -> c from @a1 clone of @a11"},
		},
		{
			"a target newer than the publisher's listing is taken from the manifest",
			[]string{".=@c9"},
			[]string{".:@a1 @b2"},
			[]plan.Branch{tree(t, "data", ".:@b12")},
			plan.Options{},
			[]string{"increment data", "data -> c from @b2"},
		},
		{
			"a partial receive goes on",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data", ".:@a11 token", "ts:token")},
			plan.Options{},
			[]string{"increment data", "data -> c from @a1 token", "data/ts -> d full token"},
		},
		{
			"a partial seed goes on",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			[]plan.Branch{tree(t, "data", ".:token")},
			plan.Options{NewBranch: "data-n"},
			[]string{"seed data", "data -> c full token"},
		},
		{
			"a partial clone goes on",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @x12"), tree(t, "data-n", ".:token")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n", "data-n -> c from @a1 clone of @a11 token"},
		},
		{
			"partial receives of no use are given up",
			[]string{".=@c3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data", ".:@c13 token", "ts:@d1 token"), tree(t, "data-2", ".:@a11 token")},
			plan.Options{},
			[]string{"none data", "data -> c have", "remove data-2", "remove data", "remove data/ts"},
		},
		{
			"parents that do not travel are made",
			[]string{".=@c3", "-ts=@x3", "-ts/deep=@y3", "ts/deep/one=@d3", "ts/deep/two=@e3"},
			[]string{".:@c3", "ts/deep/one:@d3", "ts/deep/two:@e3"},
			nil,
			plan.Options{},
			[]string{"seed data new", "data -> c full", "create data/ts", "create data/ts/deep", "data/ts/deep/one -> d full", "data/ts/deep/two -> e full"},
		},
		{
			"parents that are there are left alone",
			[]string{".=@c3", "-ts=@x3", "ts/one=@d3"},
			[]string{".:@c3", "ts/one:@d3"},
			[]plan.Branch{tree(t, "data", ".:@c13", "ts:")},
			plan.Options{},
			[]string{"seed data", "data -> c have", "data/ts/one -> d full"},
		},
		{
			"an empty dataset of another's making is not received into",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data", ".:@a11", "ts:")},
			plan.Options{NewBranch: "data-n"},
			[]string{"increment data-n new", "data-n -> c from @a1 clone of @a11", "data-n/ts -> d full"},
		},
		{
			"a full copy shares nothing with what is there",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @c13")},
			full,
			[]string{"seed data-n new", "data-n -> c full"},
		},
		{
			"a full copy goes on in the branch it has begun, known by name",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			[]plan.Branch{tree(t, "data", ".:@a11 @c13"), tree(t, "data-n", ".:token")},
			full,
			[]string{"seed data-n", "data-n -> c full token"},
		},
		{
			"a full copy's second pass is an increment on its first",
			[]string{".=@c3"},
			[]string{".:@a1 @b2 @c3"},
			[]plan.Branch{tree(t, "data", ".:@b12"), tree(t, "data-n", ".:@a11")},
			plan.Options{Full: true, NewBranch: "data-n", Current: "data-n"},
			[]string{"increment data-n", "data-n -> c from @a1"},
		},
		{
			"a full copy that cannot go on gets another name",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			[]plan.Branch{tree(t, "data", ".:@a11"), tree(t, "data-n", ".:@x12")},
			plan.Options{Full: true, NewBranch: "data-n", Current: "data-n"},
			[]string{"seed data-n-2 new", "data-n-2 -> c full"},
		},
		{
			"a branch that the journal names but a crash forestalled keeps its name",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			nil,
			plan.Options{NewBranch: "data-n", Current: "data-m"},
			[]string{"seed data-m new", "data-m -> c full"},
		},
		{
			"of equal bases the branch in work wins",
			[]string{".=@c3"},
			[]string{".:@a1 @c3"},
			[]plan.Branch{tree(t, "data", ".:@a11"), tree(t, "data-2", ".:@a11")},
			plan.Options{Current: "data-2"},
			[]string{"increment data-2", "data-2 -> c from @a1"},
		},
		{
			"of equal bases the one with the least left to move wins",
			[]string{".=@c3", "ts=@d3"},
			[]string{".:@a1 @c3", "ts:@d3"},
			[]plan.Branch{tree(t, "data", ".:@a11"), tree(t, "data-2", ".:@a11", "ts:@d13")},
			plan.Options{},
			[]string{"increment data-2", "data-2 -> c from @a1", "data-2/ts -> d have"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan.Pass(goal(t, tt.goal...), publisher(t, tt.publisher...), tt.branches, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			sortRemovals(tt.want)
			lines := show(got)
			sortRemovals(lines)
			if diff := cmp.Diff(tt.want, lines); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// sortRemovals: their order does not matter.
func sortRemovals(lines []string) {
	i := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, "remove ") })
	if i >= 0 {
		slices.Sort(lines[i:])
	}
}

func TestPassNamesItsBase(t *testing.T) {
	for _, tt := range []struct {
		name, base string
		want       messages.SnapshotID
	}{
		{"ours", "@a", idOf('a')},
		{"a foreign one has no id", "@A", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan.Pass(goal(t, ".=@c3"), publisher(t, ".:"+tt.base+"1 @c3"), []plan.Branch{tree(t, "data", ".:"+tt.base+"11")}, plan.Options{})
			if err != nil || got.BaseID != tt.want || got.Kind != messages.PassIncrement {
				t.Errorf("base %q, kind %s, %v, want base %q", got.BaseID, got.Kind, err, tt.want)
			}
		})
	}
}

func TestPassRefuses(t *testing.T) {
	t.Run("a target that survives as a bookmark only", func(t *testing.T) {
		_, err := plan.Pass(goal(t, ".=@c3"), publisher(t, ".:@a1 #c3"), []plan.Branch{tree(t, "data", ".:@a11")}, plan.Options{})
		var gone *plan.GoneError
		if !errors.As(err, &gone) || gone.Target != guid('c') || !errors.Is(err, messages.ErrNotFound) {
			t.Errorf("err = %v, want a GoneError", err)
		}
		if errors.Is(err, messages.ErrExists) || !strings.Contains(err.Error(), "newer") {
			t.Errorf("err = %v: matches too much, or has no remedy", err)
		}
	})
	t.Run("not a target that the lineage has", func(t *testing.T) {
		if _, err := plan.Pass(goal(t, ".=@c3"), publisher(t, ".:#c3"), []plan.Branch{tree(t, "data", ".:@c13")}, plan.Options{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a new branch without a name", func(t *testing.T) {
		_, err := plan.Pass(goal(t, ".=@c3"), publisher(t, ".:@c3"), []plan.Branch{tree(t, "data", ".:@x11")}, plan.Options{})
		if !errors.Is(err, messages.ErrExists) {
			t.Errorf("err = %v, want ErrExists", err)
		}
	})
}
