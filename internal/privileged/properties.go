package privileged

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
)

const none = "none"

// properties takes key=value arguments, each behind flag if that is not "". What
// follows the last one is a name, which has no "=".
func properties(w *words, flag string) (map[string]string, error) {
	props := map[string]string{}
	for len(w.rest) > 0 {
		if flag == "" && !strings.Contains(w.rest[0], "=") || flag != "" && !w.flag(flag) {
			break
		}
		key, value, ok := strings.Cut(w.next(), "=")
		if !ok || !harmless(key) || strings.Contains(key, ",") {
			return nil, fmt.Errorf("property %q", clip(key))
		}
		// Nobody's reading of what zfs lists may be led by a line end or a tab.
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("property %s=%q: control characters", key, clip(value))
		}
		if _, twice := props[key]; twice {
			return nil, fmt.Errorf("property %s twice", clip(key))
		}
		props[key] = value
	}
	return props, nil
}

// options are how create and clone take properties.
func options(props map[string]string) (args []string) {
	for _, key := range sorted(props) {
		args = append(args, "-o", key+"="+props[key])
	}
	return args
}

// disarm has setuid and devices off. Options of mount(8) do not last: libzfs mounts a
// dataset anew, by its properties alone, when its mount point or one of these two is
// set (changelist_postfix, zfs_prop_set_list), and a clone has those of its parent.
func disarm(props map[string]string) error {
	for _, key := range []string{"devices", "setuid"} {
		if value, ok := props[key]; ok && value != "off" {
			return fmt.Errorf("property %s=%s: want off", key, clip(value))
		}
		props[key] = "off"
	}
	return nil
}

func sorted(props map[string]string) []string { return slices.Sorted(maps.Keys(props)) }

// isOurs are pgresync's marks, which nobody else acts upon.
func isOurs(key string) bool {
	name, ok := strings.CutPrefix(key, "pgresync:")
	return ok && name != ""
}

// tunable are native properties that decide how data is kept, and nothing about who
// may do what (zfsprops(7), OpenZFS 2.4). Not on the list are those that have root
// run or trust something: sharenfs, sharesmb, keylocation, the SELinux contexts,
// zoned, jailed; those are left as they are found.
var tunable = map[string]bool{
	"aclinherit": true, "aclmode": true, "acltype": true, "atime": true, "checksum": true, "compression": true, "copies": true,
	"dedup": true, "direct": true, "dnodesize": true, "exec": true, "filesystem_limit": true, "logbias": true, "longname": true,
	"nbmand": true, "overlay": true, "prefetch": true, "primarycache": true, "quota": true, "readonly": true, "recordsize": true,
	"redundant_metadata": true, "refquota": true, "refreservation": true, "relatime": true, "reservation": true,
	"secondarycache": true, "snapdir": true, "snapshot_limit": true, "special_small_blocks": true, "sync": true, "xattr": true,
}

func isTunable(key string) bool { return tunable[key] }

// settable are the native properties that are changed on copies that exist, and the
// values that they may be given. canmount=on has a condition of its own.
func (p *Policy) settable(key, value string) bool {
	switch key {
	case "canmount":
		return value == "off" || value == "noauto" || value == "on"
	case "mountpoint":
		return value == none || p.Place(value)
	case "setuid", "devices":
		return value == "off"
	}
	return false
}

// born are the properties of a dataset that is made, completed: it is mounted by
// nobody who was not told to, and never armed. What is not on the list is returned:
// the copy that is replaced must have it.
func (p *Policy) born(props map[string]string) (inForce map[string]string, err error) {
	if err := disarm(props); err != nil {
		return nil, err
	}
	if props["canmount"] != "off" && props["canmount"] != "noauto" {
		return nil, fmt.Errorf("canmount=%s: want off or noauto", clip(props["canmount"]))
	}
	for _, key := range sorted(props) {
		switch _, decided := map[string]bool{"canmount": true, "mountpoint": true, "setuid": true, "devices": true}[key]; {
		case isOurs(key), isTunable(key):
		case decided:
			if !p.settable(key, props[key]) {
				return nil, fmt.Errorf("property %s=%s", key, clip(props[key]))
			}
		default:
			if inForce == nil {
				inForce = map[string]string{}
			}
			inForce[key] = props[key]
		}
	}
	return inForce, nil
}

// mountOptions are for what only Linux has.
func mountOptions() []string {
	if runtime.GOOS != "linux" {
		return []string{"-o", "nosuid"}
	}
	return []string{"-o", "nosuid,nodev"}
}
