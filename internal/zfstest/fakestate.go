package zfstest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/zfsops"
)

// poolSize is that of every fake pool, in bytes.
const poolSize = 1 << 40

// state is all the pools of one fake.
type state struct {
	TXG      uint64
	Datasets map[string]*dataset
}

// dataset is one file system or volume.
type dataset struct {
	GUID, TXG uint64
	Volume    bool
	// Props are set on the dataset itself, by name.
	Props   map[string]prop
	Mounted bool
	Busy    bool
	// KeyLoaded is of an encrypted dataset, which is its own encryption root.
	KeyLoaded bool
	Origin    string // full name of a snapshot
	Data      content
	Snapshots []*version
	Bookmarks []*version
	Partial   *partial
}

type prop struct{ Value, Source string }

// version is a snapshot or a bookmark.
type version struct {
	Short     string
	GUID, TXG uint64
	Data      content
	Props     map[string]prop
	Holds     []string
}

// content stands for what is in a file system: the writes that made it.
type content []write

type write struct{ ID, Size uint64 }

func (c content) size() (n uint64) {
	for _, w := range c {
		n += w.Size
	}
	return n
}

// partial is what a cut receive -s has saved.
type partial struct {
	Short string
	Token zfsops.Token
	// New is true when the dataset exists only as the beginning of this receive.
	New bool
	// Data is what the dataset will contain.
	Data content
}

func (s *state) nextTXG() uint64 { s.TXG++; return s.TXG }

func newGUID() uint64 { return rand.Uint64() | 1 }

func (s *state) newDataset(props map[string]string) *dataset {
	d := &dataset{GUID: newGUID(), TXG: s.nextTXG(), Props: map[string]prop{}}
	d.setLocal(props)
	return d
}

func (d *dataset) setLocal(props map[string]string) {
	for key, value := range props {
		d.Props[key] = prop{value, "local"}
	}
}

func parentOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}

// tree lists name and what is below it, sorted.
func (s *state) tree(name string) []string {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(s.Datasets)) {
		if n == name || strings.HasPrefix(n, name+"/") {
			names = append(names, n)
		}
	}
	return names
}

// find looks a dataset, snapshot or bookmark up by its full name.
func (s *state) find(name string) (d *dataset, v *version, ok bool) {
	i := strings.IndexAny(name, "@#")
	if i < 0 {
		d, ok = s.Datasets[name]
		return d, nil, ok
	}
	if d, ok = s.Datasets[name[:i]]; !ok {
		return nil, nil, false
	}
	list := d.Snapshots
	if name[i] == '#' {
		list = d.Bookmarks
	}
	if j := indexVersion(list, name[i+1:]); j >= 0 {
		return d, list[j], true
	}
	return d, nil, false
}

func indexVersion(list []*version, short string) int {
	return slices.IndexFunc(list, func(v *version) bool { return v.Short == short })
}

// open is find, or what ZFS says when there is nothing.
func (s *state) open(name string) (*dataset, *version, error) {
	d, v, ok := s.find(name)
	if !ok && d != nil && strings.Contains(name, "#") {
		return nil, nil, refuse("cannot open '%s': no such pool or dataset", name)
	}
	if !ok {
		return nil, nil, refuse("cannot open '%s': dataset does not exist", name)
	}
	return d, v, nil
}

// clones lists the datasets whose origin is the snapshot. A partial increment
// counts too: it is the hidden clone %recv of its base.
func (s *state) clones(snapshot string) []string {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(s.Datasets)) {
		d := s.Datasets[n]
		if d.Origin == snapshot {
			names = append(names, n)
		}
		if name, _, _ := strings.Cut(snapshot, "@"); d.Partial != nil && !d.Partial.New && name == n {
			if _, v, ok := s.find(snapshot); ok && v.GUID == uint64(d.Partial.Token.FromGUID) {
				names = append(names, n+"/%recv")
			}
		}
	}
	return names
}

// used is what the tree at name takes, in bytes.
func (s *state) used(name string) (n uint64) {
	for _, child := range s.tree(name) {
		n += s.Datasets[child].Data.size()
	}
	return n
}

// written is what was written since the last snapshot.
func (d *dataset) written() uint64 {
	if len(d.Snapshots) == 0 {
		return d.Data.size()
	}
	return d.Data.size() - min(d.Data.size(), d.Snapshots[len(d.Snapshots)-1].Data.size())
}

// defaults are the settable native properties.
var defaults = map[string]struct {
	value    string
	inherits bool
}{
	"mountpoint": {"/", true}, "canmount": {"on", false}, "readonly": {"off", true}, "recordsize": {"131072", true},
	"compression": {"on", true}, "atime": {"on", true}, "quota": {"0", false}, "refquota": {"0", false},
	"reservation": {"0", false}, "logbias": {"latency", true}, "sync": {"standard", true}, "xattr": {"sa", true},
	"primarycache": {"all", true}, "casesensitivity": {"sensitive", false}, "encryption": {"off", false},
	"keyformat": {"none", false}, "keylocation": {"none", false}, "copies": {"1", true},
	"setuid": {"on", true}, "devices": {"on", true}, "exec": {"on", true}, "volmode": {"default", true},
}

// readOnly are native properties that cannot be set.
var readOnly = []string{
	"name", "type", "guid", "createtxg", "used", "referenced", "available", "written",
	"mounted", "origin", "receive_resume_token", "encryptionroot", "userrefs", "clones",
}

// property computes one property as zfs get -p shows it.
func (s *state) property(name, key string) prop {
	d, v, _ := s.find(name)
	if strings.Contains(key, ":") {
		return s.userProperty(name, key)
	}
	if slices.Contains(readOnly, key) {
		return prop{s.computed(name, d, v, key), "-"}
	}
	def, ok := defaults[key]
	if !ok || v != nil || d.Volume && key == "mountpoint" {
		return prop{"-", "-"}
	}
	return s.native(name, key, def.value, def.inherits)
}

func (s *state) native(name, key, value string, inherits bool) prop {
	if p, ok := s.Datasets[name].Props[key]; ok {
		return p
	}
	for up := parentOf(name); inherits && up != ""; up = parentOf(up) {
		p, ok := s.Datasets[up].Props[key]
		if !ok {
			continue
		}
		if key == "mountpoint" && strings.HasPrefix(p.Value, "/") {
			p.Value = strings.TrimSuffix(p.Value, "/") + strings.TrimPrefix(name, up)
		}
		return prop{p.Value, "inherited from " + up}
	}
	if key == "mountpoint" {
		value += name
	}
	return prop{value, "default"}
}

// userProperty follows inheritance: snapshots inherit from their dataset.
func (s *state) userProperty(name, key string) prop {
	d, v, _ := s.find(name)
	if v != nil {
		if p, ok := v.Props[key]; ok {
			return p
		}
		if strings.Contains(name, "#") {
			return prop{"-", "-"}
		}
		name, _, _ = strings.Cut(name, "@")
		p, ok := d.Props[key]
		if ok {
			return prop{p.Value, "inherited from " + name}
		}
	}
	for up := name; up != ""; up = parentOf(up) {
		if p, ok := s.Datasets[up].Props[key]; ok {
			if up == name {
				return p
			}
			return prop{p.Value, "inherited from " + up}
		}
	}
	return prop{"-", "-"}
}

func (s *state) computed(name string, d *dataset, v *version, key string) string {
	if v != nil {
		return s.computedVersion(name, v, key)
	}
	size := strconv.FormatUint(d.Data.size(), 10)
	values := map[string]string{
		"name": name, "type": "filesystem", "guid": fmt.Sprint(d.GUID), "createtxg": fmt.Sprint(d.TXG),
		"used": fmt.Sprint(s.used(name)), "referenced": size, "available": fmt.Sprint(poolSize - s.used(name)),
		"written": fmt.Sprint(d.written()), "mounted": "no", "origin": d.Origin, "receive_resume_token": "",
		"encryptionroot": s.encryptionRoot(name),
	}
	if d.Mounted {
		values["mounted"] = "yes"
	}
	if d.Volume {
		values["type"], values["mounted"] = "volume", "-"
	}
	if d.Partial != nil {
		values["receive_resume_token"] = string(d.Partial.Token.Encode())
	}
	if values[key] == "" {
		return "-"
	}
	return values[key]
}

// encryptionRoot is "" for what is not encrypted. A clone has its origin's.
func (s *state) encryptionRoot(name string) string {
	d := s.Datasets[name]
	for d.Origin != "" {
		name = strings.SplitN(d.Origin, "@", 2)[0]
		d = s.Datasets[name]
	}
	if e := d.Props["encryption"].Value; e == "" || e == "off" {
		return ""
	}
	return name
}

func (s *state) computedVersion(name string, v *version, key string) string {
	values := map[string]string{"name": name, "type": "bookmark", "guid": fmt.Sprint(v.GUID), "createtxg": fmt.Sprint(v.TXG)}
	if strings.Contains(name, "@") {
		values["type"] = "snapshot"
		values["referenced"] = fmt.Sprint(v.Data.size())
		values["userrefs"] = strconv.Itoa(len(v.Holds))
		if key == "clones" {
			return strings.Join(s.clones(name), ",")
		}
	}
	if values[key] == "" {
		return "-"
	}
	return values[key]
}
