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
