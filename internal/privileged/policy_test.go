package privileged

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/messages"
)

const (
	id1 = "01k9xw3v7q8r5t2n6m4c0b1d"
	s1  = "@pgresync-" + id1
)

func testPolicy() *Policy {
	return &Policy{
		Live: "tank/pg", Lineage: "tank/pgresync/main", Mountpoints: []string{"/srv/pg", "/srv/my wal"},
		StageDir: "/run/pgresync/main/stage", Unit: "postgresql@17-main",
	}
}

// What package zfsops runs for a standby, and package pgops for its unit; "|" stands
// between arguments.
var allowed = []string{
	"zfs|version",
	"zfs|get|-Hp|-r|-t|filesystem,volume|-o|name,property,value,source|type,guid,receive_resume_token,pgresync:journal|tank/pg",
	"zfs|list|-Hp|-r|-d|1|-t|snapshot|-o|name,userrefs|tank/pg",
	"zfs|list|-Hp|-r|-t|filesystem|-s|name|-o|name,mounted,mountpoint|tank/pg.pgresync-next",
	"zfs|list|-Hp|-r|-t|snapshot|-o|name,guid,pgresync:cluster|tank",
	"zfs|list|-Hp|-d|1|-t|bookmark|-o|name|tank/other",
	"zfs|get|-Hp|-o|name,property,value,source|guid|tank/pg@daily",
	"zfs|get|-Hp|-r|-t|filesystem|-s|local|-o|name,property,value,source|all|tank/pg",
	"zfs|get|-Hp|-s|local,received|-o|name,property,value,source|all|tank/pg",
	"zfs|get|-Hp|-d|1|-t|snapshot|-s|local|-o|name,property,value,source|pgresync:id,pgresync:state|tank/pg",
	"zfs|create|-u|-o|canmount=off|-o|mountpoint=none|tank/pgresync",
	"zfs|create|-u|-o|canmount=off|-o|mountpoint=none|-o|setuid=off|-o|devices=off|-o|exec=off|-o|readonly=on|-o|pgresync:cluster=main|tank/pgresync/main",
	"zfs|create|-u|-o|canmount=noauto|-o|mountpoint=/run/pgresync/main/stage/2|-o|recordsize=131072|-o|pgresync:mountpoint=/srv/my wal|tank/pg.pgresync-next/wal",
	"zfs|create|-u|-o|canmount=noauto|-o|mountpoint=/run/pgresync/main/stage/local|tank/pg.pgresync-local",
	"zfs|clone|-o|canmount=noauto|-o|mountpoint=/run/pgresync/main/stage/0|-o|setuid=off|-o|quota=107374182400|-o|com.sun:auto-snapshot=false|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next",
	"zfs|receive|-s|-u|-o|canmount=noauto|-o|mountpoint=none|-o|readonly=on|-o|setuid=off|-o|exec=off|-o|origin=tank/pg" + s1 + "|tank/pgresync/main/data" + s1,
	"zfs|receive|-s|-u|tank/pgresync/main/data/my wal" + s1,
	"zfs|receive|-A|tank/pgresync/main/data",
	"zfs|rename|-u|tank/pg|tank/pg.pgresync-old",
	"zfs|rename|-u|tank/pg.pgresync-next|tank/pg",
	"zfs|rename|-u|tank/pg.pgresync-old|tank/pg.pgresync-replaced-x",
	"zfs|promote|tank/pgresync/main/data",
	"zfs|mount|tank/pg/wal",
	"zfs|unmount|tank/pg.pgresync-next/wal",
	"zfs|destroy|tank/pg.pgresync-old/wal",
	"zfs|destroy|tank/pg",
	"zfs|destroy|tank/pgresync/main/data" + s1,
	"zfs|destroy|tank/pgresync/main/data#pgresync-" + id1,
	"zfs|set|pgresync:journal=x=y|tank/pgresync/main",
	"zfs|set|pgresync:manifest=x|pgresync:state=complete|tank/pgresync/main/data" + s1,
	"zfs|set|-u|mountpoint=/srv/my wal|tank/pg.pgresync-next/wal",
	"zfs|set|canmount=noauto|pgresync:canmount=on|tank/pg.pgresync-old",
	"zfs|set|canmount=on|tank/pg/wal",
	"zfs|inherit|pgresync:paused|tank/pgresync/main",
	"zfs|bookmark|tank/pgresync/main/data" + s1 + "|tank/pgresync/main/data#pgresync-" + id1,
	"zfs|release|pgresync|tank/pg.pgresync-old" + s1,
	"zpool|list|-Hp|-o|guid,size,free,capacity,health|tank",
	"systemctl|show|--property=LoadState,ActiveState,SubState,MainPID|postgresql@17-main.service",
	"systemctl|start|postgresql@17-main.service",
	"systemctl|stop|postgresql@17-main.service",
}

func TestWhatASidecarRunsIsAllowed(t *testing.T) {
	if err := testPolicy().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, line := range allowed {
		argv := strings.Split(line, "|")
		if _, err := testPolicy().Check(argv[0], argv[1:]); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Each is one step away from something that is allowed.
var forbidden = []string{
	"", "sh|-c|id", "/sbin/zfs|version", "zfs", "zfs|send|tank/pg" + s1, "zfs|allow|-u|nobody|send|tank/pg", "zfs|rollback|tank/pg" + s1,
	"zfs|load-key|tank/pg", "zfs|snapshot|tank/pg" + s1, "zfs|hold|pgresync|tank/pg" + s1, "zfs|share|-a", "zfs|program|tank|x.lua", "zfs|upgrade|-a",
	"zpool|destroy|tank", "zpool|list|-Hp|-o|guid,size,free,capacity,health|other", "zpool|set|comment=x|tank",
	"zfs|version|-j", "zfs|list|tank/pg", "zfs|list|-Hp|-o|name|bank", "zfs|list|-Hp|-r|-o|name|tank/pg|tank", "zfs|list|-Hp|-o|name|-r", "zfs|list|-Hp|-o|name",
	"zfs|list|-Hp|-d|9|-o|name|tank", "zfs|get|-Hp|-o|value|all|bank", "zfs|get|-Hp|-o|value||tank", "zfs|get|-Hp|-o|value|-r|tank", "zfs|get|-Hp|-s|none|-o|value|all|tank",
	// foreign datasets, and what only looks like ours
	"zfs|destroy|tank/other", "zfs|destroy|tank", "zfs|destroy|tank/pgx", "zfs|destroy|tank/pg.pgresync-", "zfs|destroy|tank/pg.pgresync-/x", "zfs|destroy|tank/pgresync",
	"zfs|destroy|tank/pgresync/main", "zfs|destroy|tank/pgresync/main2/data", "zfs|destroy|tank/pgresync/other", "zfs|destroy|tank/pg/../other", "zfs|destroy|bank/pg",
	"zfs|destroy|-r|tank/pg", "zfs|destroy|-R|tank/pg", "zfs|destroy|-f|tank/pg", "zfs|destroy|tank/pg|tank/pg/wal", "zfs|destroy|tank/pg@daily", "zfs|destroy|tank/other" + s1,
	"zfs|destroy|tank/pg" + s1 + ",daily", "zfs|destroy|tank/pg" + s1 + "%daily", "zfs|destroy|tank/pg@%", "zfs|destroy|tank/pg#daily", "zfs|destroy|", "zfs|destroy|-rtank/pg",
	"zfs|rename|-u|tank/other|tank/pg", "zfs|rename|-u|tank/pg|tank/other", "zfs|rename|tank/pg|tank/pg.pgresync-old", "zfs|rename|-f|tank/pg|tank/pg.pgresync-old",
	"zfs|rename|-u|tank/pg/wal|tank/pg.pgresync-old", "zfs|rename|-u|tank/pg.pgresync-next/wal|tank/pg/wal", "zfs|rename|-u|tank/pgresync/main/data|tank/pg", "zfs|rename|-u|tank/pg" + s1 + "|tank/pg@x",
	"zfs|rename|-u|tank/pg", "zfs|promote|tank/pg", "zfs|promote|tank/other",
	// mounts
	"zfs|mount|tank/other", "zfs|mount|-a", "zfs|mount|-o|suid|tank/pg", "zfs|mount|-O|tank/pg", "zfs|mount|tank/pgresync/main/data", "zfs|mount", "zfs|unmount|-f|tank/pg", "zfs|unmount|/etc",
	"zfs|unmount|tank/other", "zfs|unmount|-a",
	"zfs|set|mountpoint=/etc|tank/pg", "zfs|set|mountpoint=/srv/pg/x|tank/pg", "zfs|set|mountpoint=/srv/pg/../../etc|tank/pg", "zfs|set|mountpoint=legacy|tank/pg", "zfs|set|mountpoint=/run/pgresync/main/stage|tank/pg",
	"zfs|set|mountpoint=/run/pgresync/main/stage/../../../../etc|tank/pg", "zfs|set|mountpoint=/run/pgresync/main/stage/0/x|tank/pg", "zfs|set|mountpoint=/run/pgresync/main/stage/|tank/pg",
	"zfs|set|mountpoint=/srv/pg|tank/pgresync/main/data", "zfs|set|canmount=on|tank/pgresync/main/data", "zfs|set|canmount=on|mountpoint=/srv/pg|tank/pg", "zfs|set|canmount=on|tank/other",
	// properties
	"zfs|set|setuid=on|tank/pg", "zfs|set|devices=on|tank/pg", "zfs|set|sharenfs=on|tank/pg", "zfs|set|quota=1|tank/pg", "zfs|set|keylocation=file:///x|tank/pg", "zfs|set|zoned=on|tank/pg",
	"zfs|set|pgresync:x=1|tank/other", "zfs|set|pgresync:x=1|tank/pg@daily", "zfs|set|com.sun:auto-snapshot=true|tank/pg", "zfs|set|pgresync:=1|tank/pg", "zfs|set|tank/pg", "zfs|set|pgresync:x=1",
	"zfs|set|-r|pgresync:x=1|tank/pg", "zfs|set|pgresync:x=1|pgresync:x=2|tank/pg", "zfs|set|pgresync:x=1|tank/pg|tank/other", "zfs|set|quota=1|tank/pgresync/main/data" + s1, "zfs|set|-o=1|tank/pg",
	"zfs|set|canmount=on|setuid=on|tank/pg", "zfs|set|mountpoint=/srv/pg|devices=on|tank/pg", "zfs|set|pgresync:x=a\nsharenfs\trw|tank/pg", "zfs|set|pgresync:x=a\x7f|tank/pg",
	"zfs|inherit|setuid|tank/pg", "zfs|inherit|mountpoint|tank/pg", "zfs|inherit|-r|pgresync:x|tank/pg", "zfs|inherit|-S|pgresync:x|tank/pg", "zfs|inherit|pgresync:x|tank/other", "zfs|inherit|pgresync:x",
	"zfs|create|-o|canmount=off|-o|mountpoint=none|tank/pgresync", "zfs|create|-u|-o|canmount=off|-o|mountpoint=none|-o|sync=disabled|tank/pgresync", "zfs|create|-u|tank/pg.pgresync-next",
	"zfs|create|-u|-o|canmount=on|tank/pg.pgresync-next", "zfs|create|-u|-o|canmount=noauto|-o|mountpoint=/etc|tank/pg.pgresync-next", "zfs|create|-u|-o|canmount=noauto|tank/other",
	"zfs|create|-u|-o|canmount=noauto|-o|mountpoint=/srv/pg|tank/pgresync/main/data", "zfs|create|-u|-o|canmount=noauto|-o|setuid=on|tank/pg.pgresync-next", "zfs|create|-u|-V|1G|tank/pg.pgresync-next",
	"zfs|create|-u|-p|-o|canmount=noauto|tank/pg.pgresync-next", "zfs|create|-u|-o|canmount=off|-o|mountpoint=none|tank", "zfs|create|-u|-o|canmount=noauto|tank/pg/new",
	"zfs|clone|-o|canmount=noauto|tank/other" + s1 + "|tank/pg.pgresync-next", "zfs|clone|-o|canmount=noauto|tank/pgresync/main/data@daily|tank/pg.pgresync-next", "zfs|clone|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next",
	"zfs|clone|-o|canmount=noauto|tank/pgresync/main/data" + s1 + "|tank/other", "zfs|clone|-o|canmount=noauto|tank/pgresync/main/data" + s1 + "|tank/pg", "zfs|clone|-p|-o|canmount=noauto|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next",
	"zfs|clone|-o|canmount=noauto|-o|devices=on|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next", "zfs|create|-u|-o|canmount=noauto|-o|devices=on|tank/pg.pgresync-next",
	"zfs|clone|-o|canmount=noauto|-o|com.sun:x=a\nsharenfs\trw|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next",
	// receives
	"zfs|receive|-s|-u|-F|tank/pgresync/main/data" + s1, "zfs|receive|-F|tank/pgresync/main/data" + s1, "zfs|receive|-s|tank/pgresync/main/data" + s1, "zfs|receive|-s|-u|-d|tank/pgresync/main",
	"zfs|receive|-s|-u|tank/pg" + s1, "zfs|receive|-s|-u|tank/other" + s1, "zfs|receive|-s|-u|tank/pgresync/main" + s1, "zfs|receive|-s|-u|tank/pgresync/main/data", "zfs|receive|-s|-u|tank/pgresync/main/data@daily",
	"zfs|receive|-s|-u|-o|setuid=on|tank/pgresync/main/data" + s1, "zfs|receive|-s|-u|-o|mountpoint=/etc|tank/pgresync/main/data" + s1, "zfs|receive|-s|-u|-o|canmount=on|tank/pgresync/main/data" + s1,
	"zfs|receive|-s|-u|-o|sharenfs=on|tank/pgresync/main/data" + s1, "zfs|receive|-s|-u|-o|origin=tank/other" + s1 + "|tank/pgresync/main/data" + s1, "zfs|receive|-s|-u|-x|setuid|tank/pgresync/main/data" + s1,
	"zfs|receive|-s|-u|-o|com.sun:auto-snapshot=true|tank/pgresync/main/data" + s1, "zfs|receive|-A|tank/other", "zfs|receive|-A", "zfs|recv|-A|tank/pgresync/main/data",
	"zfs|bookmark|tank/pgresync/main/data" + s1 + "|tank/other#pgresync-" + id1, "zfs|bookmark|tank/pgresync/main/data" + s1 + "|tank/pgresync/main/data#x", "zfs|bookmark|tank/pgresync/main/data" + s1 + "|tank/pgresync/main/data2#pgresync-" + id1,
	"zfs|bookmark|tank/pgresync/main/data" + s1, "zfs|release|backup|tank/pg" + s1, "zfs|release|-r|pgresync|tank/pg" + s1, "zfs|release|pgresync|tank/other" + s1,
	"systemctl|start|sshd.service", "systemctl|stop|--all", "systemctl|start|postgresql@17-main.service|sshd.service", "systemctl|mask|postgresql@17-main.service", "systemctl|show|postgresql@17-main.service",
	"systemctl|start|--root=/x|postgresql@17-main.service", "systemctl|start|postgresql@17-main",
}

func TestEverythingElseIsRefused(t *testing.T) {
	for _, line := range forbidden {
		argv := strings.Split(line, "|")
		if o, err := testPolicy().Check(argv[0], argv[1:]); err == nil {
			t.Errorf("%s: allowed as %q", line, o.Args)
		}
	}
	p := testPolicy()
	p.Unit = ""
	if _, err := p.Check("systemctl", []string{"start", ".service"}); err == nil {
		t.Error("a unit was started where none is configured")
	}
	for _, args := range [][]string{
		slices.Repeat([]string{"version"}, maxArgs+1), {"version\x00"}, {"set", "pgresync:x=" + strings.Repeat("x", maxArg), "tank/pg"},
	} {
		if _, err := testPolicy().Check("zfs", args); err == nil {
			t.Errorf("allowed: %d arguments, the first %.20q", len(args), args[0])
		}
	}
}

// A copy is mounted by its properties, too: when its mount point is set, and at a boot.
func TestCopiesAreConfinedWhateverWasAskedFor(t *testing.T) {
	for asked, want := range map[string]string{
		"receive|-s|-u|tank/pgresync/main/data" + s1: "receive|-s|-u|-o|canmount=noauto|-o|devices=off|-o|mountpoint=none|-o|setuid=off|tank/pgresync/main/data" + s1,
		"mount|tank/pg":           "mount|-o|nosuid,nodev|tank/pg",
		"set|canmount=on|tank/pg": "set|canmount=on|devices=off|setuid=off|tank/pg",
		"set|-u|mountpoint=/srv/pg|tank/pg.pgresync-next":                   "set|-u|devices=off|mountpoint=/srv/pg|setuid=off|tank/pg.pgresync-next",
		"set|mountpoint=/run/pgresync/main/stage/b|tank/pg.pgresync-next":   "set|devices=off|mountpoint=/run/pgresync/main/stage/b|setuid=off|tank/pg.pgresync-next",
		"set|mountpoint=none|tank/pg.pgresync-next":                         "set|devices=off|mountpoint=none|setuid=off|tank/pg.pgresync-next",
		"set|devices=off|tank/pg.pgresync-next":                             "set|devices=off|setuid=off|tank/pg.pgresync-next",
		"set|setuid=off|tank/pg":                                            "set|devices=off|setuid=off|tank/pg",
		"set|canmount=noauto|tank/pg":                                       "set|canmount=noauto|tank/pg",
		"set|pgresync:x=1|tank/pg":                                          "set|pgresync:x=1|tank/pg",
		"create|-u|-o|canmount=noauto|tank/pg.pgresync-next/wal":            "create|-u|-o|canmount=noauto|-o|devices=off|-o|setuid=off|tank/pg.pgresync-next/wal",
		"create|-u|-o|canmount=off|-o|mountpoint=none|tank/pgresync":        "create|-u|-o|canmount=off|-o|mountpoint=none|tank/pgresync",
		"create|-u|-o|canmount=off|-o|mountpoint=none|tank/pgresync/main/x": "create|-u|-o|canmount=off|-o|devices=off|-o|mountpoint=none|-o|setuid=off|tank/pgresync/main/x",
		"clone|-o|canmount=noauto|-o|mountpoint=/run/pgresync/main/stage/a|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next": "clone|-o|canmount=noauto|-o|devices=off|-o|mountpoint=/run/pgresync/main/stage/a|-o|setuid=off|tank/pgresync/main/data" + s1 + "|tank/pg.pgresync-next",
	} {
		o, err := testPolicy().Check("zfs", strings.Split(asked, "|"))
		if got := strings.Join(o.Args, "|"); err != nil || got != want {
			t.Errorf("%s became %s, %v\nwant %s", asked, got, err, want)
		}
	}
}

func TestWhatTheListDoesNotKnowMustBeInForce(t *testing.T) {
	o, err := testPolicy().Check("zfs", strings.Split("clone|-o|canmount=noauto|-o|com.sun:auto-snapshot=false|-o|sharenfs=on|-o|atime=off|tank/pgresync/main/data"+s1+"|tank/pg.pgresync-next", "|"))
	if err != nil || len(o.InForce) != 2 || o.InForce["sharenfs"] != "on" || o.InForce["com.sun:auto-snapshot"] != "false" {
		t.Errorf("got %v, %v", o.InForce, err)
	}
	for _, line := range []string{"mount|tank/pg/wal", "set|canmount=on|tank/pg/wal"} {
		if o, err := testPolicy().Check("zfs", strings.Split(line, "|")); err != nil || o.Placed != "tank/pg/wal" || !o.Alone {
			t.Errorf("%s: got %+v, %v", line, o, err)
		}
	}
}

func TestAPolicyThatWouldNotHoldIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Policy){
		"nested mount points":      func(p *Policy) { p.Mountpoints = []string{"/srv/pg", "/srv/pg/17/pg_wal"} },
		"one in the stage":         func(p *Policy) { p.Mountpoints = []string{"/run/pgresync/main/stage/0"} },
		"twice":                    func(p *Policy) { p.Mountpoints = []string{"/srv/pg", "/srv/pg"} },
		"relative":                 func(p *Policy) { p.Mountpoints = []string{"srv/pg"} },
		"not clean":                func(p *Policy) { p.Mountpoints = []string{"/srv/../etc"} },
		"root":                     func(p *Policy) { p.Mountpoints = []string{"/"} },
		"none":                     func(p *Policy) { p.Mountpoints = nil },
		"live is a pool":           func(p *Policy) { p.Live = "tank" },
		"no lineage":               func(p *Policy) { p.Lineage = "" },
		"lineage in live":          func(p *Policy) { p.Lineage = "tank/pg/lineage" },
		"lineage holds live":       func(p *Policy) { p.Lineage, p.Live = "tank/a", "tank/a/pg" },
		"lineage named like ours":  func(p *Policy) { p.Lineage = "tank/pg.pgresync-x" },
		"lineage in another pool":  func(p *Policy) { p.Lineage = "bank/pgresync" },
		"lineage is the live data": func(p *Policy) { p.Lineage = p.Live },
	} {
		p := testPolicy()
		change(p)
		if err := p.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// safe is what must be true of whatever is allowed, said in other words than the
// policy's own.
func safe(t interface{ Errorf(string, ...any) }, program string, o Order) {
	switch program {
	case "zpool":
		if o.Args[0] != "list" {
			t.Errorf("zpool %q", o.Args)
		}
		return
	case "systemctl":
		if !strings.HasPrefix(o.Args[len(o.Args)-1], "postgresql@17-main") || len(o.Args) > 3 {
			t.Errorf("systemctl %q", o.Args)
		}
		return
	}
	if slices.Contains([]string{"version", "list", "get"}, o.Args[0]) {
		return
	}
	if mustBeDisarmed(o.Args) && (!slices.Contains(o.Args, "setuid=off") || !slices.Contains(o.Args, "devices=off")) {
		t.Errorf("%q can be mounted with suid and dev", o.Args)
	}
	for i, a := range o.Args[1:] {
		switch before := o.Args[i]; {
		case strings.HasPrefix(a, "-"):
			if !slices.Contains([]string{"-s", "-u", "-o", "-A"}, a) {
				t.Errorf("option %q in %q", a, o.Args)
			}
		case before == "-o" && o.Args[0] == "mount", o.Args[0] == "inherit" && i == 0, o.Args[0] == "release" && i == 0:
		case before == "-o" || o.Args[0] == "set" && i < len(o.Args)-2:
			key, value, _ := strings.Cut(a, "=")
			if (key == "setuid" || key == "devices") && value != "off" || key == "mountpoint" && strings.HasPrefix(value, "/etc") ||
				key == "origin" && strings.HasPrefix(value, "tank/other") {
				t.Errorf("%q in %q", a, o.Args)
			}
		default:
			d := a
			if at := strings.IndexAny(a, "@#"); at >= 0 {
				d = a[:at]
			}
			if d != "tank/pg" && !strings.HasPrefix(d, "tank/pg/") && !strings.HasPrefix(d, "tank/pg.pgresync-") && !strings.HasPrefix(d+"/", "tank/pgresync/main/") &&
				(o.Args[0] != "create" || d != "tank/pgresync") {
				t.Errorf("dataset %q in %q", d, o.Args)
			}
			if _, err := messages.ParseDataset(d); err != nil {
				t.Errorf("name %q in %q", d, o.Args)
			}
		}
	}
}

// mustBeDisarmed: what makes a dataset that may be mounted, or has libzfs mount one by
// its properties.
func mustBeDisarmed(args []string) bool {
	return args[0] == "clone" || args[0] == "create" && args[len(args)-1] != "tank/pgresync" ||
		args[0] == "set" && slices.ContainsFunc(args, func(a string) bool {
			return a == "canmount=on" || slices.Contains([]string{"mountpoint", "setuid", "devices"}, strings.Split(a, "=")[0])
		})
}

// Arguments of allowed commands, mixed, cut, doubled and exchanged for hostile ones.
func TestNoMixtureOfArgumentsGetsOut(t *testing.T) {
	var all []string
	for _, line := range slices.Concat(allowed, forbidden) {
		all = append(all, strings.Split(line, "|")...)
	}
	rapid.Check(t, func(t *rapid.T) {
		argv := strings.Split(rapid.SampledFrom(allowed).Draw(t, "argv"), "|")
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, len(argv)-1).Draw(t, "at")
			word := rapid.SampledFrom(all).Draw(t, "word")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				argv[i] = word
			case 1:
				argv = slices.Insert(argv, i, word)
			case 2:
				if len(argv) > 1 {
					argv = slices.Delete(argv, i, i+1)
				}
			}
		}
		if o, err := testPolicy().Check(argv[0], argv[1:]); err == nil {
			safe(t, argv[0], o)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	for _, line := range slices.Concat(allowed, forbidden) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		argv := strings.Split(line, "|")
		if o, err := testPolicy().Check(argv[0], argv[1:]); err == nil {
			safe(t, argv[0], o)
		}
	})
}
