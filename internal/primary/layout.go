package primary

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// layout is where the cluster lives: each dataset of the tree with what it holds.
type layout struct {
	messages.Layout
	datasets []messages.ManifestDataset // without GUIDs
	flags    messages.SendFlags
}

// resolveLayout finds the dataset of every directory of the cluster. It refuses
// what one atomic snapshot of the tree would not cover (cloudnative-pg#11383),
// and children that hold nothing of the cluster, because a standby would replace
// them too.
func resolveLayout(cfg Config, tree []messages.DatasetInfo, p messages.Paths) (layout, error) {
	l := layout{}
	var err error
	if l.DataDir, err = place(cfg, tree, "data directory", p.DataDir); err != nil {
		return layout{}, err
	}
	if l.WALDir, err = place(cfg, tree, "pg_wal", p.WALDir); err != nil {
		return layout{}, err
	}
	l.WALDir.Link = p.WALLink
	for oid, dir := range p.Tablespaces {
		pl, err := place(cfg, tree, fmt.Sprintf("tablespace %d", oid), dir)
		if err != nil {
			return layout{}, err
		}
		pl.Link = true
		l.Tablespaces = append(l.Tablespaces, messages.TablespacePlace{OID: oid, Place: pl})
	}
	slices.SortFunc(l.Tablespaces, func(a, b messages.TablespacePlace) int { return int(a.OID) - int(b.OID) })
	return l.addDatasets(cfg, tree)
}

// Layout tells in which datasets of the tree the cluster lives, or why the tree
// cannot be published.
func Layout(cfg Config, tree []messages.DatasetInfo, p messages.Paths) ([]messages.ManifestDataset, error) {
	l, err := resolveLayout(cfg, tree, p)
	return l.datasets, err
}

// place finds the dataset whose mount holds dir: the longest mount point above it.
func place(cfg Config, tree []messages.DatasetInfo, what, dir string) (messages.Place, error) {
	best := messages.Place{}
	longest := -1
	for _, d := range tree {
		rel, err := filepath.Rel(d.Mountpoint, dir)
		if !d.Mounted || err != nil || rel == ".." || strings.HasPrefix(rel, "../") || len(d.Mountpoint) <= longest {
			continue
		}
		name, _ := d.Name.Rel(cfg.Dataset)
		best, longest = messages.Place{Dataset: name, Path: rel}, len(d.Mountpoint)
	}
	if longest < 0 {
		return messages.Place{}, fmt.Errorf("%s %s: %w: it is not on %s or a mounted dataset below it, so no atomic snapshot covers it; move it there",
			what, dir, messages.ErrRefused, cfg.Dataset)
	}
	if cfg.ignored(best.Dataset) {
		return messages.Place{}, fmt.Errorf("%s %s: %w: it is on %s, which is configured to be ignored",
			what, dir, messages.ErrRefused, cfg.Dataset.Child(best.Dataset))
	}
	return best, nil
}

func (l layout) addDatasets(cfg Config, tree []messages.DatasetInfo) (layout, error) {
	encrypted := 0
	for _, d := range tree {
		name, _ := d.Name.Rel(cfg.Dataset)
		if cfg.ignored(name) {
			continue
		}
		kind := l.kind(name)
		if kind == messages.KindOther && d.Mounted {
			return layout{}, fmt.Errorf("dataset %s: %w: it holds nothing of the cluster, yet a standby would replace it; move it out of %s or name it in PGRESYNC_IGNORE_DATASETS",
				d.Name, messages.ErrRefused, cfg.Dataset)
		}
		if d.Encryption != "off" && d.Encryption != "" {
			encrypted++
		}
		l.datasets = append(l.datasets, messages.ManifestDataset{
			Name: name, Kind: kind, RecordSize: d.RecordSize,
			Compression: d.Compression, Encryption: d.Encryption, Mountpoint: d.Mountpoint,
			Travels: kind != messages.KindWAL || cfg.SendWAL,
		})
	}
	switch encrypted {
	case 0:
		l.flags = messages.FlagsPlain
	case len(l.datasets):
		l.flags = messages.FlagsRaw
	default:
		// Raw and plain never mix within one destination (openzfs#12594).
		return layout{}, fmt.Errorf("dataset %s: %w: some of its datasets are encrypted and some are not; encrypt all or none", cfg.Dataset, messages.ErrRefused)
	}
	return l, nil
}

// stays is whether no standby is sent the dataset name.
func (l layout) stays(name messages.RelName) bool {
	return !slices.ContainsFunc(l.datasets, func(d messages.ManifestDataset) bool { return d.Name == name && d.Travels })
}

func (l layout) kind(name messages.RelName) messages.DatasetKind {
	holds := func(p messages.Place) bool { return p.Dataset == name }
	switch {
	case name == "" || holds(l.DataDir):
		return messages.KindData
	case slices.ContainsFunc(l.Tablespaces, func(t messages.TablespacePlace) bool { return holds(t.Place) }):
		return messages.KindTablespace
	case holds(l.WALDir):
		return messages.KindWAL
	}
	return messages.KindOther
}
