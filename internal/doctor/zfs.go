package doctor

import (
	"fmt"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

func zfs(r *report, f *Facts) {
	z := &f.ZFS
	if z.Problem != "" {
		r.fail("zfs", "install OpenZFS 2.1 or newer and load its module", "it cannot be used: %s", z.Problem)
		return
	}
	r.ok("zfs", "version %s", z.Version)
	pool := f.Dataset.Pool()
	switch z.Pool.Health {
	case "ONLINE":
	case "DEGRADED":
		r.warn("pool", "zpool status "+pool, "%s is degraded", pool)
	default:
		r.fail("pool", "zpool status "+pool, "%s is %s", pool, z.Pool.Health)
	}
	limit := z.PoolLimit
	switch {
	case limit > 0 && z.Pool.Capacity > limit:
		r.fail("space", "free some space, or raise PGRESYNC_POOL_LIMIT", "%d %% of %s are used, more than the limit of %d %%: no snapshot is taken", z.Pool.Capacity, pool, limit)
	case z.Pool.Capacity >= crowded:
		r.warn("space", "free or add some space", "%d %% of %s are used: ZFS becomes slow, and a copy may not fit", z.Pool.Capacity, pool)
	default:
		r.ok("space", "%d %% of %s are used, %s are free", z.Pool.Capacity, pool, size(z.Pool.Free))
	}
}

// crowded is the percentage from which on ZFS' allocator slows down.
const crowded = 80

func dataset(r *report, f *Facts) {
	z := &f.ZFS
	switch {
	case z.Problem != "":
	case len(z.Live) > 0:
		r.ok("dataset", "%s has %d datasets", f.Dataset, len(z.Live))
	case f.primary():
		r.fail("dataset", "correct PGRESYNC_DATASET, or create it and move the data directory there", "%s does not exist", f.Dataset)
	default:
		r.ok("dataset", "%s does not exist yet: a seed will make it", f.Dataset)
	}
}

func layout(r *report, f *Facts) {
	z := &f.ZFS
	switch {
	case !f.primary() || z.Problem != "" || len(z.Live) == 0 || f.Postgres.Identity == nil:
		return
	case z.LayoutProblem != "" && len(f.Postgres.Grants) > 0:
		r.warn("layout", "give the grants, then ask again", "it cannot be told yet: %s", z.LayoutProblem)
		return
	case z.LayoutProblem != "":
		r.fail("layout", "make it so that one recursive snapshot of "+string(f.Dataset)+" covers the cluster, and nothing else", "%s", z.LayoutProblem)
		return
	}
	for _, d := range z.Layout {
		if d.Kind == messages.KindWAL {
			r.ok("layout", "the cluster is in %d datasets, pg_wal in one of its own", len(z.Layout))
			return
		}
	}
	r.warn("layout", fmt.Sprintf("at the next stop of PostgreSQL, move pg_wal to a dataset of its own (%s/wal) and link to it", f.Dataset),
		"pg_wal is in a dataset with data: recycled WAL travels with every increment")
}

// needed are the permissions of a publisher's user on the live dataset
// (zfs-allow(8)); mount is asked for to make and destroy snapshots.
var needed = []string{"snapshot", "hold", "release", "bookmark", "send", "destroy", "mount", "userprop"}

// Needed lists them.
func Needed() []string { return append([]string{}, needed...) }

func delegation(r *report, f *Facts) {
	z := &f.ZFS
	switch {
	case z.Problem != "" || len(z.Live) == 0 && f.primary():
	case f.Root:
		r.ok("delegation", "root may do everything")
	case !f.primary() && f.OS == "linux":
		r.fail("delegation", "run the secondary sidecar as root", "user %s: only root may mount on Linux, whatever zfs allow says", f.User)
	case !f.primary():
		r.warn("delegation", "run the secondary sidecar as root", "user %s is not root: this is not tested", f.User)
	case z.MissingProblem != "":
		r.warn("delegation", "zfs allow "+quote(string(f.Dataset)), "it cannot be told what user %s may do: %s", f.User, z.MissingProblem)
	case len(z.Missing) > 0:
		r.fail("delegation", fmt.Sprintf("zfs allow -u %s %s %s", f.User, strings.Join(z.Missing, ","), quote(string(f.Dataset))),
			"user %s lacks %s on %s", f.User, strings.Join(z.Missing, ", "), f.Dataset)
	default:
		r.ok("delegation", "user %s may do what is needed on %s", f.User, f.Dataset)
	}
}

// quote is for a shell: names of datasets may hold spaces.
func quote(s string) string {
	if strings.Contains(s, " ") {
		return "'" + s + "'"
	}
	return s
}

// hurts are values of native properties that do harm to a cluster's datasets.
var hurts = []struct {
	key, value string
	level      Level
	better     string
	why        string
}{
	{"readonly", "on", Error, "off", "PostgreSQL cannot write"},
	{"sync", "disabled", Error, "standard", "a power loss takes transactions that were committed"},
	{"atime", "on", Warning, "off", "every read is a write, and grows the increments"},
	{"compression", "off", Warning, "lz4", "blocks are written and sent uncompressed"},
	{"primarycache", "none", Warning, "all", "nothing is cached: sends read every block from disk"},
	{"primarycache", "metadata", Warning, "all", "data is not cached: what is sent is read from disk again"},
}

// PropertiesThatMatter lists the keys to gather.
func PropertiesThatMatter() []string {
	return []string{"readonly", "sync", "atime", "compression", "primarycache", "recordsize", "canmount"}
}

func properties(r *report, f *Facts) {
	before := len(r.findings)
	for _, d := range f.ZFS.Live {
		have := f.ZFS.Native[d.Name]
		for _, h := range hurts {
			if have[h.key] != h.value {
				continue
			}
			remedy := fmt.Sprintf("zfs set %s=%s %s", h.key, h.better, quote(string(d.Name)))
			if h.level == Error {
				r.fail("properties", remedy, "%s=%s on %s: %s", h.key, h.value, d.Name, h.why)
			} else {
				r.warn("properties", remedy, "%s=%s on %s: %s", h.key, h.value, d.Name, h.why)
			}
		}
		if d.RecordSize > largeRecord {
			r.warn("properties", fmt.Sprintf("zfs set recordsize=128K %s, before data is written anew", quote(string(d.Name))),
				"recordsize is %s on %s: one changed page of 8 KiB moves all of it", size(d.RecordSize), d.Name)
		}
	}
	if len(r.findings) == before && len(f.ZFS.Live) > 0 {
		r.ok("properties", "none hurts")
	}
}

const largeRecord = 128 << 10

func lineage(r *report, f *Facts) {
	z := &f.ZFS
	switch {
	case f.primary() || z.Problem != "":
	case !z.LineageThere:
		r.ok("lineage", "%s will be made", f.Lineage)
	case z.LineageMark != string(f.Cluster):
		r.fail("lineage", "name another dataset in PGRESYNC_LINEAGE", "%s is there, and does not carry the mark of cluster %s (it says %q)", f.Lineage, f.Cluster, z.LineageMark)
	default:
		r.ok("lineage", "%s is there", f.Lineage)
	}
}

func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/(1<<10), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
