package zfsops

import (
	"context"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Delegations are the permissions on one dataset as zfs allow lists them.
type Delegations struct {
	// users, groups and everyone hold permission names and sets ("@name").
	users, groups map[string][]string
	everyone      []string
	sets          map[string][]string
}

// Delegations lists what is delegated on d, by itself or by a dataset above.
func (z *ZFS) Delegations(ctx context.Context, d messages.Dataset) (Delegations, error) {
	a := on("list delegations on", d)
	if err := checkName(string(d)); err != nil {
		return Delegations{}, err
	}
	out, err := z.output(ctx, a, "allow", string(d))
	if err != nil {
		return Delegations{}, err
	}
	return parseDelegations(string(d), string(out)), nil
}

// parseDelegations reads the form of zfs-allow(8): a heading for each dataset from
// the one asked about upwards, in it sections, in them indented lines
// "user NAME perm,@set,…". What it does not know it leaves out: a permission that
// is not seen is reported as missing, which the operator can judge.
func parseDelegations(asked, out string) Delegations {
	d := Delegations{users: map[string][]string{}, groups: map[string][]string{}, sets: map[string][]string{}}
	dataset, section := "", ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "---- Permissions on "):
			dataset = strings.TrimRight(strings.TrimPrefix(line, "---- Permissions on "), "- ")
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, "\t"):
			section = strings.TrimSuffix(line, ":")
		case strings.HasPrefix(line, "\t"):
			d.add(section, dataset == asked, strings.TrimPrefix(line, "\t"))
		}
	}
	return d
}

// add takes one line. Local permissions of a dataset above do not reach down, nor
// do descendent ones of the dataset itself apply to it.
func (d *Delegations) add(section string, own bool, line string) {
	switch section {
	case "Permission sets":
		name, perms, _ := strings.Cut(line, " ")
		d.sets[name] = append(d.sets[name], strings.Split(perms, ",")...)
		return
	case "Local+Descendent permissions":
	case "Local permissions":
		if !own {
			return
		}
	case "Descendent permissions":
		if own {
			return
		}
	default:
		return
	}
	kind, rest, _ := strings.Cut(line, " ")
	if kind == "everyone" {
		d.everyone = append(d.everyone, strings.Split(rest, ",")...)
		return
	}
	// A name may hold spaces, a list of permissions never does.
	i := strings.LastIndexByte(rest, ' ')
	if i < 0 {
		return
	}
	name, perms := rest[:i], strings.Split(rest[i+1:], ",")
	switch kind {
	case "user":
		d.users[name] = append(d.users[name], perms...)
	case "group":
		d.groups[name] = append(d.groups[name], perms...)
	}
}

// Missing are those of want that a user in groups does not have, in want's order.
func (d *Delegations) Missing(user string, groups, want []string) []string {
	have := slices.Concat(d.everyone, d.users[user])
	for _, g := range groups {
		have = append(have, d.groups[g]...)
	}
	// Sets may hold sets; a circle cannot be made (zfs-allow(8)), and ends here anyhow.
	for i := 0; i < len(have) && i < 1000; i++ {
		if strings.HasPrefix(have[i], "@") {
			have = append(have, d.sets[have[i]]...)
		}
	}
	var missing []string
	for _, p := range want {
		if !slices.Contains(have, p) {
			missing = append(missing, p)
		}
	}
	return missing
}

// Native reads native properties of d as they are in force.
func (z *ZFS) Native(ctx context.Context, d messages.Dataset, keys ...string) (map[string]string, error) {
	values, err := z.get(ctx, on("read properties of", d), keys...)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for key, v := range values {
		out[key] = v.value
	}
	return out, nil
}
