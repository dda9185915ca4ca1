package secondary

import (
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// A tool that makes snapshots of every dataset finds a copy that is being prepared,
// too. That stops no resync, and what it made is its owner's.
func TestForeignSnapshotsOfALeftoverAreInNobodysWay(t *testing.T) {
	for name, tt := range map[string]struct {
		story string
		left  func(c Config) messages.Dataset
	}{
		"a copy that was being prepared":   {"increment", Config.next},
		"what was kept of an earlier copy": {"in place", Config.local},
	} {
		t.Run(name, func(t *testing.T) {
			s := storyOf(t, tt.story)
			told := s
			told.begin = func(w *world) {
				s.begin(w)
				w.pool[tt.left(w.cfg)] = &fileSystem{
					guid: messages.GUID(w.draw()), local: map[string]string{messages.PropCluster: "main", "canmount": "noauto", "mountpoint": "none"},
					snaps: []*snapshot{{short: "zfs-auto-snap_hourly", local: map[string]string{}}},
				}
			}
			w, problems := play(t, told, nil, nil)
			kept := 0
			for _, fs := range w.pool {
				if len(fs.snaps) > 0 && fs.snaps[0].short == "zfs-auto-snap_hourly" && fs.local[messages.PropReplaced] != "" {
					kept++
				}
			}
			if kept != 1 || len(problems) > 0 {
				t.Errorf("kept %d times, want once; %v\n%s", kept, problems, w.describe())
			}
		})
	}
}
