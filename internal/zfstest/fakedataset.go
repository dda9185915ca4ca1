package zfstest

import (
	"maps"
	"slices"
	"strings"
)

func (f *fake) create(args []string) error {
	opts, rest, err := words(args, "uV:o:", 1)
	if err != nil {
		return err
	}
	props, err := pairs(opts['o'])
	if err != nil {
		return err
	}
	name := rest[0]
	if err := f.vacant("create", name); err != nil {
		return err
	}
	d := f.newDataset(props)
	d.Volume, d.KeyLoaded = has(opts, 'V'), true
	f.Datasets[name] = d
	f.mountNew(name, !has(opts, 'u'))
	return nil
}

func (f *fake) vacant(op, name string) error {
	if f.Datasets[name] != nil {
		return refuse("cannot %s '%s': dataset already exists", op, name)
	}
	if f.Datasets[parentOf(name)] == nil {
		return refuse("cannot %s '%s': parent does not exist", op, name)
	}
	return nil
}

// mountNew mounts as ZFS does behind create and clone.
func (f *fake) mountNew(name string, want bool) {
	d := f.Datasets[name]
	d.Mounted = want && !d.Volume && f.property(name, "canmount").Value == "on" && strings.HasPrefix(f.property(name, "mountpoint").Value, "/")
}

func (f *fake) clone(args []string) error {
	opts, rest, err := words(args, "o:", 2)
	if err != nil {
		return err
	}
	props, err := pairs(opts['o'])
	if err != nil {
		return err
	}
	_, v, err := f.open(rest[0])
	if err != nil {
		return err
	}
	if err := f.vacant("create", rest[1]); err != nil {
		return err
	}
	d := f.newDataset(props)
	d.Origin, d.Data = rest[0], slices.Clone(v.Data)
	origin := f.Datasets[strings.SplitN(rest[0], "@", 2)[0]]
	if e, ok := origin.Props["encryption"]; ok {
		d.Props["encryption"] = prop{e.Value, "-"}
	}
	f.Datasets[rest[1]] = d
	f.mountNew(rest[1], true)
	return nil
}

func (f *fake) rename(args []string) error {
	_, rest, err := words(args, "u", 2)
	if err != nil {
		return err
	}
	from, to := rest[0], rest[1]
	if _, _, err := f.open(from); err != nil {
		return err
	}
	if f.Datasets[to] != nil {
		return refuse("cannot rename '%s': dataset already exists", from)
	}
	if f.Datasets[parentOf(to)] == nil {
		return refuse("cannot create '%s': parent does not exist", to)
	}
	moved := map[string]*dataset{}
	for _, n := range f.tree(from) {
		moved[to+strings.TrimPrefix(n, from)] = f.Datasets[n]
		delete(f.Datasets, n)
	}
	maps.Copy(f.Datasets, moved)
	for _, d := range f.Datasets {
		if name, short, _ := strings.Cut(d.Origin, "@"); name == from || strings.HasPrefix(name, from+"/") {
			d.Origin = to + strings.TrimPrefix(name, from) + "@" + short
		}
	}
	return nil
}

func (f *fake) mount(args []string) error {
	_, rest, err := words(args, "", 1)
	if err != nil {
		return err
	}
	d, _, err := f.open(rest[0])
	if err != nil {
		return err
	}
	switch at := f.property(rest[0], "mountpoint").Value; {
	case d.Mounted:
		return refuse("cannot mount '%s': filesystem already mounted", rest[0])
	case f.property(rest[0], "canmount").Value == "off":
		return refuse("cannot mount '%s': 'canmount' property is set to 'off'", rest[0])
	case at == "none" || at == "legacy":
		return refuse("cannot mount '%s': no mountpoint set", rest[0])
	case f.encryptionRoot(rest[0]) != "" && !f.Datasets[f.encryptionRoot(rest[0])].KeyLoaded:
		return refuse("cannot mount '%s': encryption key not loaded", rest[0])
	}
	d.Mounted = true
	return nil
}

func (f *fake) loadKey(args []string) error {
	_, rest, err := words(args, "L:", 1)
	if err != nil {
		return err
	}
	d, _, err := f.open(rest[0])
	if err == nil {
		d.KeyLoaded = true
	}
	return err
}

func (f *fake) unmount(args []string) error {
	_, rest, err := words(args, "", 1)
	if err != nil {
		return err
	}
	d, _, err := f.open(rest[0])
	if err != nil {
		return err
	}
	at := f.property(rest[0], "mountpoint").Value
	switch {
	case !d.Mounted:
		return refuse("cannot unmount '%s': not currently mounted", rest[0])
	case d.Busy:
		return refuse("cannot unmount '%s': pool or dataset is busy", at)
	}
	// Like zfs unmount, which takes along what is mounted inside.
	for _, n := range f.tree(rest[0]) {
		if inside := f.property(n, "mountpoint").Value; n == rest[0] || strings.HasPrefix(inside, at+"/") {
			f.Datasets[n].Mounted = false
		}
	}
	return nil
}

func (f *fake) destroy(args []string) error {
	_, rest, err := words(args, "", 1)
	if err != nil {
		return err
	}
	name := rest[0]
	switch {
	case strings.Contains(name, "@"):
		return f.destroySnapshot(name)
	case strings.Contains(name, "#"):
		d, v, ok := f.find(name)
		if !ok {
			return refuse("bookmark '%s' does not exist.", name)
		}
		d.Bookmarks = slices.DeleteFunc(d.Bookmarks, func(b *version) bool { return b == v })
		return nil
	}
	d, _, err := f.open(name)
	if err != nil {
		return err
	}
	switch {
	case len(f.tree(name)) > 1:
		return refuse("cannot destroy '%s': filesystem has children\nuse '-r' to destroy the following datasets:\n%s", name, f.tree(name)[1])
	case len(d.Snapshots) > 0:
		return refuse("cannot destroy '%s': filesystem has children\nuse '-r' to destroy the following datasets:\n%s@%s", name, name, d.Snapshots[0].Short)
	case d.Mounted && d.Busy:
		return refuse("cannot destroy '%s': dataset is busy", name)
	}
	delete(f.Datasets, name)
	return nil
}

func (f *fake) destroySnapshot(name string) error {
	d, v, ok := f.find(name)
	if !ok {
		return refuse("could not find any snapshots to destroy; check snapshot names.")
	}
	if len(v.Holds) > 0 {
		return refuse("cannot destroy snapshot %s: it's being held. Run 'zfs holds -r %s' to see holders.", name, name)
	}
	if clones := f.clones(name); len(clones) > 0 {
		return refuse("cannot destroy '%s': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n%s", name, clones[0])
	}
	d.Snapshots = slices.DeleteFunc(d.Snapshots, func(s *version) bool { return s == v })
	return nil
}
