package zfsops

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// In the form of zfs-allow(8) and OpenZFS 2.3 cmd/zfs/zfs_main.c,
// print_fs_perms; the user's name has a space.
const delegations = `---- Permissions on tank/my pg -------------------------------------
Permission sets:
	@look send,hold
	@sync @look,snapshot
Local permissions:
	user postgres mount
Local+Descendent permissions:
	user postgres bookmark,userprop
	user my user @sync
	group dba destroy
	everyone release
Descendent permissions:
	user postgres create
Create time permissions:
	rename
---- Permissions on tank -------------------------------------------
Local permissions:
	user postgres clone
Local+Descendent permissions:
	user postgres rollback
Descendent permissions:
	user postgres quota
`

func TestDelegationsThatApply(t *testing.T) {
	d := parseDelegations("tank/my pg", delegations)
	want := []string{"send", "snapshot", "mount", "bookmark", "destroy", "release", "create", "clone", "rollback", "quota", "rename"}
	for name, tt := range map[string]struct {
		user    string
		groups  []string
		missing []string
	}{
		"local, descendent, from above":       {"postgres", nil, []string{"send", "snapshot", "destroy", "create", "clone", "rename"}},
		"a group of the user's":               {"postgres", []string{"dba"}, []string{"send", "snapshot", "create", "clone", "rename"}},
		"sets within sets, and a spaced name": {"my user", nil, []string{"mount", "bookmark", "destroy", "create", "clone", "rollback", "quota", "rename"}},
		"everyone":                            {"nobody", nil, []string{"send", "snapshot", "mount", "bookmark", "destroy", "create", "clone", "rollback", "quota", "rename"}},
	} {
		if diff := cmp.Diff(tt.missing, d.Missing(tt.user, tt.groups, want)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// testdata/allow-2.3.9.txt was captured after the commands of docs/unprivileged.md.
func TestDelegationsAsOpenZFSPrintsThem(t *testing.T) {
	text, err := testdata.ReadFile("testdata/allow-2.3.9.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := parseDelegations("tank1/pg", string(text))
	want := []string{"snapshot", "hold", "release", "bookmark", "send", "destroy", "mount", "userprop"}
	if missing := d.Missing("pgresync", nil, want); missing != nil {
		t.Errorf("missing %v, want nothing", missing)
	}
	if diff := cmp.Diff([]string{"receive"}, d.Missing("pgresync", nil, []string{"send", "receive"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, d.Missing("postgres", []string{"pgresync"}, want)); diff != "" {
		t.Errorf("another user (-want +got):\n%s", diff)
	}
}

// testdata/allow-all-forms-2.3.9.txt has every form that there is, and a dataset with
// a space in its name.
func TestEveryFormOfDelegation(t *testing.T) {
	text, err := testdata.ReadFile("testdata/allow-all-forms-2.3.9.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := parseDelegations("tank1/apart/my pg", string(text))
	all := []string{"send", "hold", "snapshot", "mount", "bookmark", "userprop", "destroy", "release", "create", "rename", "clone", "rollback", "quota"}
	for name, tt := range map[string]struct {
		user   string
		groups []string
		want   []string // missing
	}{
		"local, descendent, from above": {"postgres", nil, []string{"send", "hold", "snapshot", "destroy", "create", "rename", "clone"}},
		"and by a group":                {"postgres", []string{"postgres"}, []string{"send", "hold", "snapshot", "create", "rename", "clone"}},
		"sets within sets":              {"pgresync", nil, []string{"mount", "bookmark", "userprop", "destroy", "create", "rename", "clone", "rollback", "quota"}},
	} {
		if diff := cmp.Diff(tt.want, d.Missing(tt.user, tt.groups, all)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNoDelegationsAtAll(t *testing.T) {
	d := parseDelegations("tank/pg", "")
	if diff := cmp.Diff([]string{"send"}, d.Missing("postgres", nil, []string{"send"})); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseDelegations(f *testing.F) {
	f.Add(delegations)
	f.Add("Local permissions:\n\tuser x\n\t\n")
	f.Fuzz(func(_ *testing.T, out string) {
		d := parseDelegations("tank/pg", out)
		d.Missing("postgres", []string{"dba"}, []string{"send"})
	})
}
