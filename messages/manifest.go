package messages

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
)

// DatasetKind says what of the cluster a dataset holds.
type DatasetKind string

// The kinds.
const (
	KindData       DatasetKind = "data"       // the root of the live tree; holds the data directory
	KindWAL        DatasetKind = "wal"        // holds pg_wal and nothing else of the cluster
	KindTablespace DatasetKind = "tablespace" // holds one or more tablespaces
	KindOther      DatasetKind = "other"      // an empty parent, or one left alone by configuration
)

// Manifest describes one bracketed snapshot: all that a standby needs to know
// besides the data itself.
type Manifest struct {
	V         int         `json:"v"`
	ID        SnapshotID  `json:"id"`
	Cluster   ClusterName `json:"cluster"`
	Node      NodeName    `json:"node"`
	CreatedAt time.Time   `json:"created_at"`
	// Lease is the KV revision of the publisher's lease, the fencing token.
	Lease uint64 `json:"lease,string"`

	SystemID  SystemID        `json:"system_id"`
	PGVersion PGVersion       `json:"pg_version"`
	Timeline  TimelineHistory `json:"timeline"`
	StartLSN  LSN             `json:"start_lsn"`
	StopLSN   LSN             `json:"stop_lsn"`
	// WALSegmentSize is in bytes.
	WALSegmentSize uint64 `json:"wal_segment_size,string"`
	// BackupLabel and TablespaceMap are files for the copy's data directory,
	// byte for byte (PostgreSQL 15, continuous-archiving 26.3.3).
	BackupLabel   Blob  `json:"backup_label"`
	TablespaceMap *Blob `json:"tablespace_map,omitempty"`
	// Settings are the parameters that a standby must not have lower
	// (PostgreSQL 15, hot-standby 27.4.3), by name.
	Settings map[string]int `json:"settings"`

	Layout   Layout            `json:"layout"`
	Datasets []ManifestDataset `json:"datasets"`
	Flags    SendFlags         `json:"flags"`
	// Signature is reserved for signed manifests.
	Signature string `json:"signature,omitempty"`
}

// ManifestDataset is one dataset of a bracketed snapshot.
type ManifestDataset struct {
	Name      RelName     `json:"name"`
	Kind      DatasetKind `json:"kind"`
	GUID      GUID        `json:"guid"`
	CreateTXG TXG         `json:"createtxg"`
	// Referenced is in bytes as stored, after compression.
	Referenced  uint64 `json:"referenced,string"`
	RecordSize  uint64 `json:"recordsize,string"`
	Compression string `json:"compression"`
	Encryption  string `json:"encryption"`
	// Travels is false for a dataset that standbys create empty instead of
	// receiving it: a WAL dataset of its own.
	Travels bool `json:"travels"`
	// Mountpoint is where it is mounted on the publisher; a standby uses the
	// same place relative to its own root unless configured otherwise.
	Mountpoint string `json:"mountpoint"`
}

// Layout says in which datasets the parts of a cluster live.
type Layout struct {
	DataDir     Place             `json:"data_dir"`
	WALDir      Place             `json:"wal_dir"`
	Tablespaces []TablespacePlace `json:"tablespaces,omitempty"`
}

// Place is a directory as a path inside a dataset, "." for its top.
type Place struct {
	Dataset RelName `json:"dataset"`
	Path    string  `json:"path"`
	// Link is true when the data directory reaches it by a symbolic link.
	Link bool `json:"link,omitempty"`
}

// TablespacePlace is where one tablespace lives.
type TablespacePlace struct {
	// OID is the name of its link in pg_tblspc.
	OID   uint32 `json:"oid"`
	Place Place  `json:"place"`
}

// Blob is a small file with its checksum.
type Blob struct {
	Data   []byte `json:"data"` // base64 in JSON
	SHA256 string `json:"sha256"`
}

// NewBlob copies data and adds its checksum.
func NewBlob(data []byte) Blob {
	sum := sha256.Sum256(data)
	return Blob{Data: bytes.Clone(data), SHA256: hex.EncodeToString(sum[:])}
}

func (b Blob) validate(field string) error {
	if sum := sha256.Sum256(b.Data); hex.EncodeToString(sum[:]) != b.SHA256 {
		return fmt.Errorf("%s: the SHA-256 does not match the data", field)
	}
	return nil
}

// SendFlags are the options of zfs send that shape the stream, sorted, one
// space between: "-L -c -e" or "-w". Fixed for a chain of increments: changing
// -L within one once zeroed files (openzfs#6224).
type SendFlags string

// The two sets that are used.
const (
	FlagsPlain SendFlags = "-L -c -e"
	FlagsRaw   SendFlags = "-w"
)

// Dataset finds one by name.
func (m *Manifest) Dataset(name RelName) (ManifestDataset, bool) {
	i := slices.IndexFunc(m.Datasets, func(d ManifestDataset) bool { return d.Name == name })
	if i < 0 {
		return ManifestDataset{}, false
	}
	return m.Datasets[i], true
}

// Travelling lists the datasets that are sent, parents before children.
func (m *Manifest) Travelling() []ManifestDataset {
	var out []ManifestDataset
	for _, d := range m.Datasets {
		if d.Travels {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b ManifestDataset) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}

// maxDatasets bounds a tree; one with more is not a PostgreSQL layout.
const maxDatasets = 256

// Validate reports what is wrong with the document.
func (m *Manifest) Validate() error {
	if err := firstError(
		version(m.V),
		required("id", string(m.ID)),
		required("cluster", string(m.Cluster)),
		required("node", string(m.Node)),
		nonZero("system_id", uint64(m.SystemID)),
		nonZero("pg_version", uint64(max(m.PGVersion, 0))),
		nonZero("timeline.current", uint64(m.Timeline.Current)),
		nonZero("start_lsn", uint64(m.StartLSN)),
		nonZero("wal_segment_size", m.WALSegmentSize),
		m.BackupLabel.validate("backup_label"),
		m.Flags.validate(),
	); err != nil {
		return err
	}
	if m.StopLSN < m.StartLSN {
		return fmt.Errorf("stop_lsn %s lies before start_lsn %s", m.StopLSN, m.StartLSN)
	}
	if m.TablespaceMap != nil {
		if err := m.TablespaceMap.validate("tablespace_map"); err != nil {
			return err
		}
	}
	if err := m.validateDatasets(); err != nil {
		return err
	}
	return m.Layout.validate(m)
}

func (f SendFlags) validate() error {
	if f != FlagsPlain && f != FlagsRaw {
		return fmt.Errorf("flags %q: want %q or %q", clip(string(f)), FlagsPlain, FlagsRaw)
	}
	return nil
}

func (m *Manifest) validateDatasets() error {
	if len(m.Datasets) == 0 || len(m.Datasets) > maxDatasets {
		return fmt.Errorf("datasets: want 1 to %d, have %d", maxDatasets, len(m.Datasets))
	}
	seen := map[RelName]bool{}
	for _, d := range m.Datasets {
		if seen[d.Name] {
			return fmt.Errorf("datasets: %q is listed twice", d.Name)
		}
		seen[d.Name] = true
		if d.GUID == 0 {
			return fmt.Errorf("datasets: %q has no GUID", d.Name)
		}
		switch d.Kind {
		case KindData, KindWAL, KindTablespace, KindOther:
		default:
			return fmt.Errorf("datasets: %q has unknown kind %q", d.Name, clip(string(d.Kind)))
		}
		if !plausibleMountpoint(d.Mountpoint) {
			return fmt.Errorf("datasets: %q has mount point %q: want a clean absolute path, none or legacy", d.Name, clip(d.Mountpoint))
		}
	}
	if root, ok := m.Dataset(""); !ok || !root.Travels {
		return errors.New("datasets: the root is missing or does not travel")
	}
	return nil
}

// plausibleMountpoint accepts what zfs get mountpoint prints (zfsprops(7)). A
// standby builds paths from it.
func plausibleMountpoint(s string) bool {
	switch s {
	case "", "-", "none", "legacy":
		return true
	}
	return path.IsAbs(s) && path.Clean(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

func (l *Layout) validate(m *Manifest) error {
	if err := errors.Join(l.DataDir.validate("layout.data_dir", m), l.WALDir.validate("layout.wal_dir", m)); err != nil {
		return err
	}
	if d, _ := m.Dataset(l.DataDir.Dataset); !d.Travels {
		return fmt.Errorf("layout.data_dir: dataset %q does not travel", d.Name)
	}
	seen := map[uint32]bool{}
	for _, t := range l.Tablespaces {
		if t.OID == 0 || seen[t.OID] {
			return fmt.Errorf("layout.tablespaces: OID %d is 0 or listed twice", t.OID)
		}
		seen[t.OID] = true
		if err := t.Place.validate(fmt.Sprintf("layout.tablespaces %d", t.OID), m); err != nil {
			return err
		}
	}
	return nil
}

// validate keeps a hostile document from pointing outside the datasets.
func (p Place) validate(field string, m *Manifest) error {
	if _, ok := m.Dataset(p.Dataset); !ok {
		return fmt.Errorf("%s: dataset %q is not in the manifest", field, p.Dataset)
	}
	if p.Path == "" || path.IsAbs(p.Path) || path.Clean(p.Path) != p.Path ||
		p.Path == ".." || strings.HasPrefix(p.Path, "../") || strings.ContainsFunc(p.Path, unicode.IsControl) {
		return fmt.Errorf("%s: path %q is not a clean path inside its dataset", field, clip(p.Path))
	}
	return nil
}
