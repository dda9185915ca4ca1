package zfstest

import (
	"slices"
	"strings"
)

func local(props map[string]string) map[string]prop {
	m := map[string]prop{}
	for key, value := range props {
		m[key] = prop{value, "local"}
	}
	return m
}

func (f *fake) snapshot(args []string) error {
	opts, rest, err := words(args, "ro:", 1)
	if err != nil {
		return err
	}
	props, err := pairs(opts['o'])
	if err != nil {
		return err
	}
	root, short, _ := strings.Cut(rest[0], "@")
	if f.Datasets[root] == nil {
		return refuse("cannot open '%s': dataset does not exist\nusage:\n\tsnapshot ...", root)
	}
	names := []string{root}
	if has(opts, 'r') {
		names = f.tree(root)
	}
	for _, n := range names {
		if indexVersion(f.Datasets[n].Snapshots, short) >= 0 {
			return refuse("cannot create snapshot '%s@%s': dataset already exists\nno snapshots were created", n, short)
		}
	}
	txg := f.nextTXG()
	for _, n := range names {
		d := f.Datasets[n]
		d.Snapshots = append(d.Snapshots, &version{Short: short, GUID: newGUID(), TXG: txg, Data: slices.Clone(d.Data), Props: local(props)})
	}
	return nil
}

func (f *fake) hold(args []string) error {
	_, rest, err := words(args, "", 2)
	if err != nil {
		return err
	}
	if _, _, err := f.open(strings.Split(rest[1], "@")[0]); err != nil {
		return err
	}
	_, v, ok := f.find(rest[1])
	if !ok {
		return refuse("cannot hold snapshot '%s': dataset does not exist", rest[1])
	}
	if slices.Contains(v.Holds, rest[0]) {
		return refuse("cannot hold snapshot '%s': tag already exists on this dataset", rest[1])
	}
	v.Holds = append(v.Holds, rest[0])
	return nil
}

func (f *fake) release(args []string) error {
	_, rest, err := words(args, "", 2)
	if err != nil {
		return err
	}
	if _, _, err := f.open(strings.Split(rest[1], "@")[0]); err != nil {
		return err
	}
	_, v, ok := f.find(rest[1])
	if !ok {
		return refuse("cannot release hold from snapshot '%s': dataset does not exist", rest[1])
	}
	i := slices.Index(v.Holds, rest[0])
	if i < 0 {
		return refuse("cannot release hold from snapshot '%s': no such tag on this dataset", rest[1])
	}
	v.Holds = slices.Delete(v.Holds, i, i+1)
	return nil
}

func (f *fake) bookmark(args []string) error {
	_, rest, err := words(args, "", 2)
	if err != nil {
		return err
	}
	_, v, err := f.open(rest[0])
	if err != nil {
		return err
	}
	name, short, _ := strings.Cut(rest[1], "#")
	d := f.Datasets[name]
	if d == nil {
		return refuse("cannot create bookmark '%s': dataset does not exist", rest[1])
	}
	if !f.descends(name, v) {
		return refuse("cannot create bookmark '%s': source is not an ancestor of the new bookmark's dataset", rest[1])
	}
	if indexVersion(d.Bookmarks, short) >= 0 {
		return refuse("cannot create bookmark '%s': bookmark exists", rest[1])
	}
	d.Bookmarks = append(d.Bookmarks, &version{Short: short, GUID: v.GUID, TXG: v.TXG, Data: v.Data})
	return nil
}

// descends reports whether v is of the dataset or of what it was cloned from.
func (f *fake) descends(name string, v *version) bool {
	for limit := ^uint64(0); ; {
		d := f.Datasets[name]
		for _, own := range slices.Concat(d.Snapshots, d.Bookmarks) {
			if own.GUID == v.GUID && own.TXG <= limit {
				return true
			}
		}
		if d.Origin == "" {
			return false
		}
		_, origin, _ := f.find(d.Origin)
		name, _, _ = strings.Cut(d.Origin, "@")
		limit = origin.TXG
	}
}

func (f *fake) promote(args []string) error {
	_, rest, err := words(args, "", 1)
	if err != nil {
		return err
	}
	d, _, err := f.open(rest[0])
	if err != nil {
		return err
	}
	if d.Origin == "" {
		return refuse("cannot promote '%s': not a cloned filesystem", rest[0])
	}
	name, short, _ := strings.Cut(d.Origin, "@")
	old := f.Datasets[name]
	i := indexVersion(old.Snapshots, short) + 1
	moved := slices.Clone(old.Snapshots[:i])
	old.Snapshots = slices.Delete(old.Snapshots, 0, i)
	d.Snapshots = append(moved, d.Snapshots...)
	d.Origin, old.Origin = old.Origin, rest[0]+"@"+short
	for _, b := range slices.Clone(old.Bookmarks) {
		if b.TXG <= moved[len(moved)-1].TXG {
			if indexVersion(d.Bookmarks, b.Short) >= 0 {
				return refuse("fake: VERIFY failed: the real zfs promote would hang, because of bookmark '%s'", b.Short)
			}
			d.Bookmarks = append(d.Bookmarks, b)
			old.Bookmarks = slices.DeleteFunc(old.Bookmarks, func(o *version) bool { return o == b })
		}
	}
	for _, other := range f.Datasets {
		from, s, _ := strings.Cut(other.Origin, "@")
		if other != d && other != old && from == name && indexVersion(moved, s) >= 0 {
			other.Origin = rest[0] + "@" + s
		}
	}
	return nil
}
