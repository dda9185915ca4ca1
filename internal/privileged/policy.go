package privileged

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

const (
	// maxArgs and maxArg bound an argument list; the longest value of a property is
	// messages.MaxProperty.
	maxArgs = 256
	maxArg  = 16 << 10
)

// Policy says which commands the unprivileged part may have run. Everything that is
// not on its list is refused.
type Policy struct {
	// Live is the live dataset. It, its siblings named Live.pgresync-… and what lies
	// below them may be made, moved, mounted and destroyed.
	Live messages.Dataset
	// Lineage is the root of what is received. It is never mounted.
	Lineage messages.Dataset
	// Mountpoints are the only places at which something may be mounted for good, and
	// StageDir is where copies are mounted aside, one level below it.
	Mountpoints []string
	StageDir    string
	// Unit is PostgreSQL's systemd unit, "" when there is none.
	Unit string
}

// Order is a command as it is to be run, which may be less than what was asked for,
// and what must be so right before.
type Order struct {
	Program string
	Args    []string
	// Placed is a dataset whose mount point must be set on itself, and be one of the
	// policy's, "" for none.
	Placed messages.Dataset
	// InForce are properties that are not on the list. They must be set, with the same
	// values, on a dataset that exists: somebody with the right to has set them.
	InForce map[string]string
	// Alone keeps other orders that change datasets away while this one is checked and
	// run, Changes is what it keeps away.
	Alone, Changes bool
}

// Check refuses a command, or says how it is to be run. It does no more than to
// look at its arguments.
func (p *Policy) Check(program string, args []string) (Order, error) {
	if err := checkBounds(args); err != nil {
		return Order{}, err
	}
	shapes, ok := programs[program]
	if !ok {
		return Order{}, fmt.Errorf("program %q: want zfs, zpool or systemctl", clip(program))
	}
	if len(args) == 0 {
		return Order{}, errors.New("no arguments")
	}
	shape, ok := shapes[args[0]]
	if !ok {
		return Order{}, fmt.Errorf("%s %q is not on the list", program, clip(args[0]))
	}
	w := &words{rest: args[1:]}
	o, err := shape(p, w)
	if err == nil && len(w.rest) > 0 {
		err = fmt.Errorf("unexpected argument %q", clip(w.rest[0]))
	}
	if err != nil {
		return Order{}, fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	o.Program = program
	if o.Args == nil {
		o.Args = args
	}
	return o, nil
}

func checkBounds(args []string) error {
	if len(args) > maxArgs {
		return fmt.Errorf("%d arguments: want at most %d", len(args), maxArgs)
	}
	for _, a := range args {
		if len(a) > maxArg || strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %q: want at most %d bytes, without NUL", clip(a), maxArg)
		}
	}
	return nil
}

// shape reads the arguments behind the verb.
type shape func(p *Policy, w *words) (Order, error)

// programs is the list. What each act is for is in package zfsops, which has no other.
var programs = map[string]map[string]shape{
	"zfs": {
		"version": nothingMore, "list": list, "get": get,
		"create": create, "clone": clone, "receive": receive, "rename": rename, "promote": promote,
		"mount": mount, "unmount": unmount, "destroy": destroy,
		"set": set, "inherit": inherit, "bookmark": bookmark, "release": release,
	},
	"zpool":     {"list": zpoolList},
	"systemctl": {"show": systemctlShow, "start": systemctlUnit, "stop": systemctlUnit},
}

// Place reports whether something may be mounted there.
func (p *Policy) Place(path string) bool {
	if slices.Contains(p.Mountpoints, path) {
		return true
	}
	name, below := strings.CutPrefix(path, p.StageDir+"/")
	return p.StageDir != "" && below && name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Validate refuses a policy that would not hold. No mount point may lie in another:
// the path to it would lead through data, in which any directory can be a link.
func (p *Policy) Validate() error {
	places := append(slices.Clone(p.Mountpoints), p.StageDir)
	for i, a := range places {
		if !filepath.IsAbs(a) || filepath.Clean(a) != a || a == "/" {
			return fmt.Errorf("mount point %q: want a clean absolute path", a)
		}
		for _, b := range places[i+1:] {
			if a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
				return fmt.Errorf("mount points %s and %s: neither may lie in the other, because the path to the inner one leads through data; mount it elsewhere (a link in the data directory is enough)", a, b)
			}
		}
	}
	if len(p.Mountpoints) == 0 {
		return errors.New("no mount point is given")
	}
	for _, d := range []messages.Dataset{p.Live, p.Lineage} {
		if _, err := messages.ParseDataset(string(d)); err != nil {
			return err
		}
		if d.Parent() == "" {
			return fmt.Errorf("dataset %s is the root of a pool", d)
		}
	}
	if apart := (&Policy{Live: p.Live}); apart.within(p.Lineage, live, aside) || p.Live.Pool() != p.Lineage.Pool() {
		return fmt.Errorf("lineage %s: want a dataset of the pool of %s that is neither in it nor named like %s.pgresync-…", p.Lineage, p.Live, p.Live)
	}
	if _, holds := p.Live.Rel(p.Lineage); holds {
		return fmt.Errorf("lineage %s holds the live dataset %s", p.Lineage, p.Live)
	}
	return nil
}

// area is which of the policy's trees a dataset belongs to.
type area int

const (
	foreign area = iota
	// live is the live dataset and what is below it.
	live
	// aside are its siblings, coming, previous and kept copies, and what is below them.
	aside
	// received is what is below the lineage's root, lineage the root itself.
	received
	lineage
)

func (p *Policy) area(d messages.Dataset) area {
	if d == p.Lineage {
		return lineage
	}
	if _, ok := d.Rel(p.Lineage); ok {
		return received
	}
	if _, ok := d.Rel(p.Live); ok {
		return live
	}
	if name, ok := strings.CutPrefix(string(d), string(p.Live)+".pgresync-"); ok && name != "" && name[0] != '/' {
		return aside
	}
	return foreign
}

func (p *Policy) within(d messages.Dataset, areas ...area) bool {
	return slices.Contains(areas, p.area(d))
}

// dataset takes a file system's name in one of the areas.
func (p *Policy) dataset(w *words, areas ...area) (messages.Dataset, error) {
	d, err := messages.ParseDataset(w.next())
	if err != nil {
		return "", err
	}
	return d, p.belongs(d, areas...)
}

func (p *Policy) belongs(d messages.Dataset, areas ...area) error {
	if !p.within(d, areas...) {
		return fmt.Errorf("%s: not a dataset that this may be done to", d)
	}
	return nil
}

// version takes a snapshot or bookmark of ours by its name, of a dataset in one of
// the areas.
func (p *Policy) version(w *words, mark string, areas ...area) (messages.SnapshotName, error) {
	n, err := messages.ParseSnapshotName(w.next())
	if err != nil {
		return "", err
	}
	return n, p.ours(n, mark, areas...)
}

func (p *Policy) ours(n messages.SnapshotName, mark string, areas ...area) error {
	kind := "@"
	if n.IsBookmark() {
		kind = "#"
	}
	if _, ok := messages.SnapshotIDOf(n); !ok || !strings.Contains(mark, kind) {
		return fmt.Errorf("%s: not the name of a snapshot or bookmark that this may be done to", n)
	}
	return p.belongs(n.Dataset(), areas...)
}

// words are arguments, taken one by one.
type words struct{ rest []string }

// next is "" behind the last one, which no name and no value is.
func (w *words) next() string {
	if len(w.rest) == 0 {
		return ""
	}
	s := w.rest[0]
	w.rest = w.rest[1:]
	return s
}

func (w *words) expect(want ...string) error {
	for _, s := range want {
		if got := w.next(); got != s {
			return fmt.Errorf("%q where %q is expected", clip(got), s)
		}
	}
	return nil
}

// flag takes s if it is there.
func (w *words) flag(s string) bool {
	if len(w.rest) == 0 || w.rest[0] != s {
		return false
	}
	w.rest = w.rest[1:]
	return true
}

func clip(s string) string {
	const longest = 100
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
