package secondary

import (
	"context"
	"testing"
)

func TestTheLogFileOfACopyIsInTheCopy(t *testing.T) {
	top, child := site{"", "/srv/pg", "/stage/0"}, site{"main", "/srv/pg/main", "/stage/1"}
	for name, tt := range map[string]struct {
		dir   string
		sites []site
		want  string
	}{
		"the top is all data directory":     {"/srv/pg", []site{top}, "/srv/pg"},
		"the top is not mounted":            {"/srv/pg/main", []site{{}, child}, "/srv/pg/main"},
		"a directory in the top":            {"/srv/pg/main", []site{top}, "/stage/0/main"},
		"a directory deep in the top":       {"/srv/pg/15/main", []site{top}, "/stage/0/15/main"},
		"a child is all data directory":     {"/srv/pg/main", []site{top, child}, "/stage/0/main"},
		"a directory in a child":            {"/srv/pg/main/data", []site{top, child}, "/stage/1/data"},
		"a child that is mounted elsewhere": {"/data/main", []site{top, {"main", "/data/main", "/stage/1"}}, "/data/main"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := besides(tt.dir, tt.sites); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// What no revert would start needs no log file.
func TestTheWayBackIsToAClusterThatIsThere(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(*world)
		want  bool
	}{
		"a standby":     {func(*world) {}, true},
		"not mounted":   {func(w *world) { w.server, w.mounts = nil, nil }, false},
		"there is none": {func(w *world) { w.server, w.mounts = nil, nil; noLive(w) }, false},
		"it is empty":   {func(w *world) { w.server = nil; w.pool[w.cfg.Dataset].content.pg = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			resumes(t, tt.begin, func(ctx context.Context, _ *world, s *Service) {
				l, err := s.readLive(ctx)
				must(t, err)
				if srv, err := s.wayBack(ctx, l); err != nil || (srv != nil) != tt.want {
					t.Errorf("got %v, %v, want one: %v", srv, err, tt.want)
				}
			})
		})
	}
}
