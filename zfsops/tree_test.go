package zfsops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

const shortName = "pgresync-0123456789abcdefghjkmnpq"

// treeOf makes a tree from "name" or "name<origin's dataset"; each has a
// snapshot of ours.
func treeOf(t *testing.T, notation ...string) *tree {
	t.Helper()
	var infos []messages.DatasetInfo
	clones := map[string][]string{}
	for _, n := range notation {
		name, origin, isClone := strings.Cut(n, "<")
		info := messages.DatasetInfo{Name: messages.Dataset(name), Marks: map[string]string{messages.PropCluster: "main"}}
		if isClone {
			info.Origin = messages.Dataset(origin).Snapshot(shortName)
			clones[origin] = append(clones[origin], name)
		}
		infos = append(infos, info)
	}
	var out strings.Builder
	for _, info := range infos {
		fmt.Fprintf(&out, "%s@%s\t0\t%s\n", info.Name, shortName, strings.Join(clones[string(info.Name)], ","))
	}
	got, err := parseTree(infos, []byte(out.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func order(t *testing.T, tr *tree) []string {
	t.Helper()
	infos, err := tr.destroyOrder(act{"destroy", "it"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, info := range infos {
		names = append(names, string(info.Name))
	}
	return names
}

func TestChildrenGoBeforeParentsAndClonesBeforeOrigins(t *testing.T) {
	for _, c := range []struct{ tree, want []string }{
		{[]string{"p/a"}, []string{"p/a"}},
		{[]string{"p/a", "p/a/b", "p/a/b/c"}, []string{"p/a/b/c", "p/a/b", "p/a"}},
		{[]string{"p/a", "p/a/b", "p/a/z<p/a/b"}, []string{"p/a/z", "p/a/b", "p/a"}},
		{[]string{"p/a", "p/a/b<p/a/z", "p/a/z"}, []string{"p/a/b", "p/a/z", "p/a"}},
		{[]string{"p/a", "p/a/child<p/a"}, []string{"p/a/child", "p/a"}},
	} {
		if d := cmp.Diff(c.want, order(t, treeOf(t, c.tree...))); d != "" {
			t.Error(d)
		}
	}
}

func TestAParentThatIsACloneOfItsChildIsRefused(t *testing.T) {
	_, err := treeOf(t, "p/a<p/a/b", "p/a/b").destroyOrder(act{"destroy", "p/a"})
	if !errors.Is(err, messages.ErrBusy) {
		t.Fatalf("got %v", err)
	}
}

func TestAPartialIncrementIsNoCloneFromOutside(t *testing.T) {
	tr := treeOf(t, "p/a", "p/a/b")
	tr.snapshots["p/a/b"][0].clones = []messages.Dataset{"p/a/b/%recv"}
	order(t, tr)
	tr.snapshots["p/a/b"][0].clones = []messages.Dataset{"p/other/%recv"}
	if _, err := tr.destroyOrder(act{"destroy", "p/a"}); !errors.Is(err, messages.ErrBusy) {
		t.Fatalf("got %v", err)
	}
}

// Whatever the tree, an order is complete and never destroys what another one
// still needs.
func TestEveryOrderCanBeCarriedOut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"p/a"}
		for range rapid.IntRange(0, 8).Draw(rt, "n") {
			names = append(names, rapid.SampledFrom(names).Draw(rt, "parent")+"/"+fmt.Sprint(len(names)))
		}
		notation := slices.Clone(names)
		for i := range notation {
			// Origins are older, so that there are no circles among clones alone.
			if i > 0 && rapid.Bool().Draw(rt, "clone") {
				notation[i] += "<" + names[rapid.IntRange(0, i-1).Draw(rt, "origin")]
			}
		}
		tr := treeOf(t, notation...)
		left := slices.Clone(tr.infos)
		for _, name := range order(t, tr) {
			for _, other := range left {
				if strings.HasPrefix(string(other.Name), name+"/") || string(other.Origin.Dataset()) == name {
					rt.Fatalf("%s goes before %s (%s)", name, other.Name, other.Origin)
				}
			}
			left = slices.DeleteFunc(left, func(d messages.DatasetInfo) bool { return string(d.Name) == name })
		}
		if len(left) != 0 {
			rt.Fatalf("left: %v", left)
		}
	})
}
