package messages

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ClusterName names a PostgreSQL replication group in subjects, streams,
// buckets and datasets: 1 to 32 of a-z, 0-9 and '-', beginning and ending with
// a letter or digit.
type ClusterName string

// NodeName names a host of a cluster, with the rules of ClusterName. The alphabet
// has no '_', so that a slot name made from it can be told apart.
type NodeName string

// ParseClusterName checks s.
func ParseClusterName(s string) (ClusterName, error) {
	if err := checkLabel(s); err != nil {
		return "", fmt.Errorf("cluster name %q: %w", clip(s), err)
	}
	return ClusterName(s), nil
}

// ParseNodeName checks s. "all" is refused: triggers use it for every node.
func ParseNodeName(s string) (NodeName, error) {
	if s == AllNodes {
		return "", errors.New(`node name "all": it is reserved for triggers to every node`)
	}
	if err := checkLabel(s); err != nil {
		return "", fmt.Errorf("node name %q: %w", clip(s), err)
	}
	return NodeName(s), nil
}

// UnmarshalText parses and checks.
func (c *ClusterName) UnmarshalText(b []byte) (err error) {
	*c, err = ParseClusterName(string(b))
	return err
}

// UnmarshalText parses and checks.
func (n *NodeName) UnmarshalText(b []byte) (err error) {
	*n, err = ParseNodeName(string(b))
	return err
}

func checkLabel(s string) error {
	if len(s) == 0 || len(s) > 32 {
		return errors.New("want 1 to 32 characters of a-z, 0-9 and '-'")
	}
	for i := range len(s) {
		c := s[i]
		if !isLowerAlnum(c) && (c != '-' || i == 0 || i == len(s)-1) {
			return errors.New("want 1 to 32 characters of a-z, 0-9 and '-', with a letter or digit at both ends")
		}
	}
	return nil
}

func isLowerAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// SystemID is the cluster identifier that initdb drew. Two data directories
// belong to one cluster only if it is equal; equal is necessary, not sufficient.
type SystemID uint64

// ParseSystemID reads the decimal form of pg_controldata.
func ParseSystemID(s string) (SystemID, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("parse system identifier %q: want a positive decimal number", clip(s))
	}
	return SystemID(v), nil
}

// String is decimal.
func (s SystemID) String() string { return strconv.FormatUint(uint64(s), 10) }

// MarshalText is decimal.
func (s SystemID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the decimal form.
func (s *SystemID) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSystemID(string(b))
	return err
}

// PGVersion is server_version_num: 150018 is 15.18.
type PGVersion int

// Major is the number before the point: a physical copy starts only under the
// same major version.
func (v PGVersion) Major() int { return int(v) / 10000 }

// String is "15.18".
func (v PGVersion) String() string { return fmt.Sprintf("%d.%d", v.Major(), int(v)%10000) }

// Role is what PostgreSQL does on a node now.
type Role string

// The roles.
const (
	RolePrimary Role = "primary" // out of recovery, accepts writes
	RoleStandby Role = "standby" // in recovery
	RoleDown    Role = "down"    // no answer
)

// Identity is who a running PostgreSQL is.
type Identity struct {
	SystemID SystemID        `json:"system_id"`
	Version  PGVersion       `json:"version"`
	Role     Role            `json:"role"`
	Timeline TimelineHistory `json:"timeline"`
	// LSN is the current write position of a primary, the last replayed one of a
	// standby.
	LSN LSN `json:"lsn"`
}

// Lease is the KV record that says who publishes for a cluster now. Its KV
// revision is the fencing token stamped into every document of the holder.
type Lease struct {
	V        int         `json:"v"`
	Cluster  ClusterName `json:"cluster"`
	Node     NodeName    `json:"node"`
	SystemID SystemID    `json:"system_id"`
	Timeline Timeline    `json:"timeline"`
	LSN      LSN         `json:"lsn"`
	// Host and Port are where standbys reach the holder's PostgreSQL.
	Host string    `json:"host"`
	Port int       `json:"port"`
	At   time.Time `json:"at"`
}

// Validate reports what is wrong with the document.
func (l *Lease) Validate() error {
	return firstError(
		version(l.V),
		required("cluster", string(l.Cluster)),
		required("node", string(l.Node)),
		nonZero("system_id", uint64(l.SystemID)),
		nonZero("timeline", uint64(l.Timeline)),
		hostname("host", l.Host),
		portNumber("port", l.Port),
	)
}
