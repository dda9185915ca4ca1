package privileged

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

func nothingMore(*Policy, *words) (Order, error) { return Order{}, nil }

// list reads, in the whole pool: the base of an increment is looked for in it.
func list(p *Policy, w *words) (Order, error) {
	if err := columns(w, map[string]string{"-d": "1", "-s": "name"}); err != nil {
		return Order{}, err
	}
	return Order{}, p.inPool(w.next())
}

func get(p *Policy, w *words) (Order, error) {
	if err := columns(w, map[string]string{"-d": "1", "-s": "local local,received"}); err != nil {
		return Order{}, err
	}
	if keys := w.next(); keys == "" || !harmless(keys) {
		return Order{}, fmt.Errorf("properties %q", clip(keys))
	}
	return Order{}, p.inPool(w.next())
}

// columns takes the options of list and get, each at most once; values are those that
// an option may have.
func columns(w *words, values map[string]string) error {
	if err := w.expect("-Hp"); err != nil {
		return err
	}
	w.flag("-r")
	for _, option := range []string{"-d", "-t", "-s", "-o"} {
		if !w.flag(option) {
			continue
		}
		value := w.next()
		if want, ok := values[option]; ok && !slices.Contains(strings.Fields(want), value) || !harmless(value) {
			return fmt.Errorf("%s %q", option, clip(value))
		}
	}
	return nil
}

// harmless are lists of names of properties and types.
func harmless(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789,:._-") == ""
}

func (p *Policy) inPool(name string) error {
	d, err := messages.ParseDataset(name)
	if strings.ContainsAny(name, "@#") {
		var n messages.SnapshotName
		n, err = messages.ParseSnapshotName(name)
		d = n.Dataset()
	}
	if err == nil && d.Pool() != p.Live.Pool() {
		err = fmt.Errorf("%s is in another pool", d)
	}
	return err
}

func zpoolList(p *Policy, w *words) (Order, error) {
	return Order{}, w.expect("-Hp", "-o", "guid,size,free,capacity,health", p.Live.Pool())
}

// create makes what a copy has and did not travel, and the lineage with what is
// above it.
func create(p *Policy, w *words) (Order, error) {
	if err := w.expect("-u"); err != nil {
		return Order{}, err
	}
	props, err := properties(w, "-o")
	if err != nil {
		return Order{}, err
	}
	d, err := messages.ParseDataset(w.next())
	if err != nil {
		return Order{}, err
	}
	if _, above := p.Lineage.Rel(d); above && d != p.Lineage && d.Parent() != "" {
		if len(props) != 2 || props["canmount"] != "off" || props["mountpoint"] != none {
			return Order{}, fmt.Errorf("%s: want canmount=off and mountpoint=none alone", d)
		}
		return Order{Changes: true}, nil
	}
	if err := p.belongs(d, aside, lineage, received); err != nil {
		return Order{}, err
	}
	if !p.within(d, aside) && props["mountpoint"] != none {
		return Order{}, fmt.Errorf("%s: want mountpoint=none", d)
	}
	inForce, err := p.born(props)
	args := append(append([]string{"create", "-u"}, options(props)...), string(d))
	return Order{Args: args, InForce: inForce, Changes: true}, err
}

func clone(p *Policy, w *words) (Order, error) {
	props, err := properties(w, "-o")
	if err != nil {
		return Order{}, err
	}
	of, err := p.version(w, "@", received)
	if err != nil {
		return Order{}, err
	}
	d, err := p.dataset(w, aside)
	if err != nil {
		return Order{}, err
	}
	inForce, err := p.born(props)
	args := append(append([]string{"clone"}, options(props)...), string(of), string(d))
	return Order{Args: args, InForce: inForce, Changes: true}, err
}

// confined goes along with every receive, whatever the stream says: it may hold more
// datasets than one, with properties, and the next boot mounts what canmount and
// mountpoint say.
var confined = []string{"canmount=noauto", "devices=off", "mountpoint=none", "setuid=off"}

func receive(p *Policy, w *words) (Order, error) {
	if w.flag("-A") {
		_, err := p.dataset(w, received, live, aside)
		return Order{Changes: true}, err
	}
	if err := w.expect("-s", "-u"); err != nil {
		return Order{}, err
	}
	props, err := properties(w, "-o")
	if err != nil {
		return Order{}, err
	}
	args := []string{"receive", "-s", "-u"}
	for _, pair := range confined {
		args = append(args, "-o", pair)
		key, value, _ := strings.Cut(pair, "=")
		if given, ok := props[key]; ok && given != value {
			return Order{}, fmt.Errorf("property %s: want %s", key, value)
		}
		delete(props, key)
	}
	if origin, ok := props["origin"]; ok {
		n, err := messages.ParseSnapshotName(origin)
		if err == nil {
			err = p.ours(n, "@", received, live, aside)
		}
		if err != nil {
			return Order{}, fmt.Errorf("origin: %w", err)
		}
		args = append(args, "-o", "origin="+origin)
		delete(props, "origin")
	}
	for _, key := range sorted(props) {
		if !isOurs(key) && !isTunable(key) {
			return Order{}, fmt.Errorf("property %s is not on the list", key)
		}
		args = append(args, "-o", key+"="+props[key])
	}
	target, err := p.version(w, "@", received)
	return Order{Args: append(args, string(target))}, err
}

// rename moves whole copies.
func rename(p *Policy, w *words) (Order, error) {
	if err := w.expect("-u"); err != nil {
		return Order{}, err
	}
	for range 2 {
		d, err := p.dataset(w, live, aside)
		if err != nil {
			return Order{}, err
		}
		if d.Parent() != p.Live.Parent() {
			return Order{}, fmt.Errorf("%s: want the live dataset or one beside it", d)
		}
	}
	return Order{Changes: true}, nil
}

func promote(p *Policy, w *words) (Order, error) {
	_, err := p.dataset(w, received)
	return Order{Changes: true}, err
}

// mount never lets the programs and devices in a copy act with another's rights,
// whatever the properties say that it came with.
func mount(p *Policy, w *words) (Order, error) {
	d, err := p.dataset(w, live, aside)
	return Order{Args: append(append([]string{"mount"}, mountOptions()...), string(d)), Placed: d, Alone: true, Changes: true}, err
}

func unmount(p *Policy, w *words) (Order, error) {
	_, err := p.dataset(w, live, aside)
	return Order{Changes: true}, err
}

// destroy takes one thing, without what is below it or depends on it.
func destroy(p *Policy, w *words) (Order, error) {
	name := w.next()
	one := &words{rest: []string{name}}
	var err error
	if strings.ContainsAny(name, "@#") {
		_, err = p.version(one, "@#", received, live, aside)
	} else {
		_, err = p.dataset(one, received, live, aside)
	}
	return Order{Changes: true}, err
}

func set(p *Policy, w *words) (Order, error) {
	args := []string{"set"}
	if w.flag("-u") {
		args = append(args, "-u")
	}
	props, err := properties(w, "")
	if err == nil && len(props) == 0 {
		err = errors.New("no property")
	}
	if err != nil {
		return Order{}, err
	}
	if len(w.rest) == 1 && strings.Contains(w.rest[0], "@") {
		for key := range props {
			if !isOurs(key) {
				return Order{}, fmt.Errorf("property %s of a snapshot", key)
			}
		}
		_, err := p.version(w, "@", received)
		return Order{Changes: true}, err
	}
	d, err := p.dataset(w, live, aside, received, lineage)
	if err != nil {
		return Order{}, err
	}
	o := Order{Changes: true}
	if props["canmount"] == "on" {
		// From now on a boot mounts it by its properties, and nobody is asked.
		if len(props) > 1 && props["mountpoint"] != "" || !p.within(d, live, aside) {
			return Order{}, errors.New("canmount=on: want a copy that has its mount point")
		}
		o.Placed, o.Alone = d, true
	}
	if mounts(props) {
		if err := disarm(props); err != nil {
			return Order{}, err
		}
	}
	for _, key := range sorted(props) {
		if !isOurs(key) && (p.within(d, received, lineage) || !p.settable(key, props[key])) {
			return Order{}, fmt.Errorf("property %s=%s", key, clip(props[key]))
		}
		args = append(args, key+"="+props[key])
	}
	args = append(args, string(d))
	o.Args = args
	return o, nil
}

// mounts reports whether to set props mounts a dataset anew, by its properties and
// not by our options, now or at a boot.
func mounts(props map[string]string) bool {
	for _, key := range []string{"mountpoint", "setuid", "devices"} {
		if _, ok := props[key]; ok {
			return true
		}
	}
	return props["canmount"] == "on"
}

// inherit is for our marks only: to inherit a native property can mount anew, too.
func inherit(p *Policy, w *words) (Order, error) {
	if key := w.next(); !isOurs(key) {
		return Order{}, fmt.Errorf("property %q", clip(key))
	}
	_, err := p.dataset(w, live, aside, received, lineage)
	return Order{Changes: true}, err
}

func bookmark(p *Policy, w *words) (Order, error) {
	of, err := p.version(w, "@", received)
	if err != nil {
		return Order{}, err
	}
	b, err := p.version(w, "#", received)
	if err == nil && b.Dataset() != of.Dataset() {
		err = fmt.Errorf("%s is not of the dataset of %s", b, of)
	}
	return Order{Changes: true}, err
}

func release(p *Policy, w *words) (Order, error) {
	if err := w.expect(messages.HoldTag); err != nil {
		return Order{}, err
	}
	_, err := p.version(w, "@", received, live, aside)
	return Order{Changes: true}, err
}

func systemctlShow(p *Policy, w *words) (Order, error) {
	if err := w.expect("--property=LoadState,ActiveState,SubState,MainPID"); err != nil {
		return Order{}, err
	}
	return systemctlUnit(p, w)
}

func systemctlUnit(p *Policy, w *words) (Order, error) {
	if p.Unit == "" {
		return Order{}, errors.New("no unit is configured")
	}
	unit := p.Unit
	if !strings.HasSuffix(unit, ".service") {
		unit += ".service"
	}
	return Order{}, w.expect(unit)
}
