package account

import (
	"regexp"
	"strings"
)

// Class is what PostgreSQL keeps in a file.
type Class string

// The classes.
const (
	Relations Class = "relations"
	Maps      Class = "free space and visibility maps"
	Unlogged  Class = "unlogged relations"
	Temporary Class = "temporary files and relations"
	WAL       Class = "WAL"
	Status    Class = "transaction status (pg_xact, pg_multixact, pg_subtrans, …)"
	Logs      Class = "server logs"
	Other     Class = "other files"
	// Unnamed has what no file of the tree owns: directories, attributes, files
	// that were deleted.
	Unnamed Class = "no file (directories, deleted files)"
	// Records are the stream's own records.
	Records Class = "records of the stream itself"
)

var (
	relation  = regexp.MustCompile(`(^|/)(base/[0-9]+|global|PG_[0-9]+_[0-9]+/[0-9]+)/([0-9]+)(_fsm|_vm|_init)?(\.[0-9]+)?$`)
	temporary = regexp.MustCompile(`(^|/)(pgsql_tmp|t[0-9]+_[0-9]+)`)
	segment   = regexp.MustCompile(`(^|/)([0-9A-F]{24}(\.partial)?|[0-9A-F]{8}\.history|xlogtemp\.[0-9]+)$`)
	status    = regexp.MustCompile(`(^|/)(pg_xact|pg_multixact|pg_subtrans|pg_commit_ts|pg_serial|pg_notify)/`)
	logs      = regexp.MustCompile(`(^|/)(log|pg_log)/|\.log$`)
)

// Classify tells files by their paths (storage-file-layout). unlogged reports
// whether the relation with that path has an init fork, which is what tells an
// unlogged one.
func Classify(path string, unlogged func(relation string) bool) Class {
	switch m := relation.FindStringSubmatchIndex(path); {
	case temporary.MatchString(path):
		return Temporary
	case segment.MatchString(path) || strings.Contains("/"+path, "/pg_wal/"):
		return WAL
	case m != nil:
		fork := group(path, m, 4)
		switch {
		case unlogged(path[:m[7]]):
			return Unlogged
		case fork == "_fsm" || fork == "_vm":
			return Maps
		}
		return Relations
	case status.MatchString(path):
		return Status
	case logs.MatchString(path):
		return Logs
	default:
		return Other
	}
}

func group(s string, m []int, n int) string {
	if m[2*n] < 0 {
		return ""
	}
	return s[m[2*n]:m[2*n+1]]
}
