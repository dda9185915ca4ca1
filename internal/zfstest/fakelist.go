package zfstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// select lists the objects of the wanted types at and below name, down to
// depth (-1: all).
func (f *fake) selectTree(name, types string, depth int) ([]string, error) {
	if _, _, err := f.open(name); err != nil {
		return nil, err
	}
	if strings.ContainsAny(name, "@#") {
		return []string{name}, nil
	}
	wanted := strings.Split(types, ",")
	var names []string
	for _, n := range f.tree(name) {
		level := strings.Count(n[len(name):], "/")
		d := f.Datasets[n]
		kind := "filesystem"
		if d.Volume {
			kind = "volume"
		}
		if slices.Contains(wanted, kind) && (depth < 0 || level <= depth) {
			names = append(names, n)
		}
		if depth >= 0 && level+1 > depth {
			continue
		}
		for _, v := range d.Snapshots {
			if slices.Contains(wanted, "snapshot") {
				names = append(names, n+"@"+v.Short)
			}
		}
		for _, v := range d.Bookmarks {
			if slices.Contains(wanted, "bookmark") {
				names = append(names, n+"#"+v.Short)
			}
		}
	}
	return names, nil
}

func depthOf(opts map[byte][]string, name, types string) int {
	switch {
	case has(opts, 'r'):
		return -1
	case has(opts, 'd'):
		return int(opts['d'][0][0] - '0')
	case strings.ContainsAny(name, "@#") || !strings.Contains(types, "snapshot"):
		return 0
	}
	return 1
}

func (f *fake) list(args []string) error {
	opts, rest, err := words(args, "Hprd:t:o:s:", 1)
	if err != nil {
		return err
	}
	types := "filesystem,volume"
	if has(opts, 't') {
		types = opts['t'][0]
	}
	names, err := f.selectTree(rest[0], types, depthOf(opts, rest[0], types))
	if err != nil {
		return err
	}
	for _, n := range names {
		var fields []string
		for key := range strings.SplitSeq(opts['o'][0], ",") {
			fields = append(fields, f.property(n, key).Value)
		}
		fmt.Fprintln(f.out, strings.Join(fields, "\t"))
	}
	return nil
}

func (f *fake) get(args []string) error {
	opts, rest, err := words(args, "Hprd:t:o:s:", 2)
	if err != nil {
		return err
	}
	if opts['o'][0] != "name,property,value,source" {
		return fmt.Errorf("%w: columns", errUsage)
	}
	types := "filesystem,volume,snapshot,bookmark"
	if has(opts, 't') {
		types = opts['t'][0]
	}
	depth := 0
	if has(opts, 'r') || has(opts, 'd') {
		depth = depthOf(opts, rest[1], types)
	}
	names, err := f.selectTree(rest[1], types, depth)
	if err != nil {
		return err
	}
	for _, n := range names {
		for _, key := range f.keys(n, rest[0]) {
			p := f.property(n, key)
			if has(opts, 's') && !slices.Contains(strings.Split(opts['s'][0], ","), sourceKind(p.Source)) {
				continue
			}
			fmt.Fprintf(f.out, "%s\t%s\t%s\t%s\n", n, key, p.Value, p.Source)
		}
	}
	return nil
}

func sourceKind(s string) string {
	switch {
	case strings.HasPrefix(s, "inherited"):
		return "inherited"
	case s == "-":
		return "none"
	}
	return s
}

// keys expands "all".
func (f *fake) keys(name, want string) []string {
	if want != "all" {
		return strings.Split(want, ",")
	}
	keys := map[string]bool{}
	for key := range defaults {
		keys[key] = true
	}
	for _, key := range readOnly {
		keys[key] = true
	}
	d, v, _ := f.find(name)
	if v != nil {
		for key := range v.Props {
			keys[key] = true
		}
	}
	for key := range d.Props {
		keys[key] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

func (f *fake) set(args []string) error {
	opts, rest, err := flags(args, "u")
	if err != nil || len(rest) < 2 {
		return errUsage
	}
	props, err := pairs(rest[:len(rest)-1])
	if err != nil {
		return err
	}
	name := rest[len(rest)-1]
	d, v, err := f.open(name)
	if err != nil {
		return err
	}
	if v != nil {
		for key, value := range props {
			v.Props[key] = prop{value, "local"}
		}
		return nil
	}
	before := f.property(name, "mountpoint").Value
	d.setLocal(props)
	// The trap that zfs set -u is for (zfsprops(7), mountpoint).
	if before == "none" && props["mountpoint"] != "" && !has(opts, 'u') && f.property(name, "canmount").Value == "on" {
		d.Mounted = true
	}
	return nil
}

func (f *fake) inherit(args []string) error {
	_, rest, err := words(args, "", 2)
	if err != nil {
		return err
	}
	d, v, err := f.open(rest[1])
	if err != nil {
		return err
	}
	if v != nil {
		delete(v.Props, rest[0])
		return nil
	}
	delete(d.Props, rest[0])
	return nil
}
