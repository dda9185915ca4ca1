package secondary

import (
	"testing"

	"github.com/pgresync/pgresync/messages"
)

func TestMountedAtAsksTheDatasetThatHoldsTheDirectory(t *testing.T) {
	at := func(name messages.Dataset, mountpoint string, mounted bool) messages.DatasetInfo {
		return messages.DatasetInfo{Name: name, Mountpoint: mountpoint, Mounted: mounted, CanMount: "on"}
	}
	off := func(d messages.DatasetInfo) messages.DatasetInfo { d.CanMount = "off"; return d }
	for name, tt := range map[string]struct {
		tree []messages.DatasetInfo
		want bool
	}{
		"no dataset":                            {nil, false},
		"the top, mounted":                      {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", true)}, true},
		"the top, not mounted":                  {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", false)}, false},
		"the top of a path with the same start": {[]messages.DatasetInfo{at("tank/pg", "/srv/p", true)}, false},
		"the root of the file system":           {[]messages.DatasetInfo{at("tank/pg", "/", true)}, true},
		"mounted by others":                     {[]messages.DatasetInfo{at("tank/pg", "legacy", true)}, false},
		"a child, mounted":                      {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", false), at("tank/pg/main", "/srv/pg/main", true)}, true},
		"a child, not mounted":                  {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", true), at("tank/pg/main", "/srv/pg/main", false)}, false},
		"a child, not mounted, listed first":    {[]messages.DatasetInfo{at("tank/pg/main", "/srv/pg/main", false), at("tank/pg", "/srv/pg", true)}, false},
		"a child that is never mounted":         {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", true), off(at("tank/pg/main", "/srv/pg/main", false))}, true},
		"a child inside of the directory":       {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", true), at("tank/pg/wal", "/srv/pg/main/pg_wal", false)}, true},
		"a child elsewhere":                     {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", true), at("tank/pg/space", "/srv/pg/space", false)}, true},
		"two for one place, one of them shows":  {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", true), at("tank/pg/a", "/srv/pg", false)}, true},
		"two for one place, the other one does": {[]messages.DatasetInfo{at("tank/pg", "/srv/pg", false), at("tank/pg/a", "/srv/pg", true)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mountedAt(live{tree: tt.tree}, "/srv/pg/main"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
