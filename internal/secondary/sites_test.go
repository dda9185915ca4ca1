package secondary

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

func manifest() *messages.Manifest {
	return &messages.Manifest{Datasets: []messages.ManifestDataset{
		{Name: "", Kind: messages.KindData, Mountpoint: "/srv/pg"},
		{Name: "group", Kind: messages.KindOther, Mountpoint: "none"},
		{Name: "inside", Kind: messages.KindTablespace, Mountpoint: "/srv/pg/space"},
		{Name: "wal", Kind: messages.KindWAL, Mountpoint: "/srv/pgwal"},
	}}
}

func finals(sites []site) map[messages.RelName]string {
	out := map[messages.RelName]string{}
	for _, s := range sites {
		out[s.name] = s.final
	}
	return out
}

func TestMountPointsAreThePublishersConfiguredOrLocal(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  Config
		live live
		want map[messages.RelName]string
	}{
		"a first seed takes the publisher's": {
			want: map[messages.RelName]string{"": "/srv/pg", "group": "", "inside": "/srv/pg/space", "wal": "/srv/pgwal"},
		},
		"a configured root moves what lies inside it": {
			cfg:  Config{Mountpoint: "/data"},
			want: map[messages.RelName]string{"": "/data", "group": "", "inside": "/data/space", "wal": "/srv/pgwal"},
		},
		"the live tree's are kept": {
			live: live{tree: []messages.DatasetInfo{{Name: "tank/pg", Mountpoint: "/live"}, {Name: "tank/pg/wal", Mountpoint: "/livewal"}}},
			want: map[messages.RelName]string{"": "/live", "group": "", "inside": "/live/space", "wal": "/livewal"},
		},
		"a configured child wins": {
			cfg:  Config{Mountpoints: map[messages.RelName]string{"wal": "/w"}},
			live: live{tree: []messages.DatasetInfo{{Name: "tank/pg", Mountpoint: "/live"}, {Name: "tank/pg/wal", Mountpoint: "/livewal"}}},
			want: map[messages.RelName]string{"": "/live", "group": "", "inside": "/live/space", "wal": "/w"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.cfg.Dataset = "tank/pg"
			s := New(tt.cfg, Deps{})
			if diff := cmp.Diff(tt.want, finals(s.sites(manifest(), tt.live))); diff != "" {
				t.Errorf("mount points (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConninfoWithAHostOfItsOwnIsRecognised(t *testing.T) {
	for conninfo, want := range map[string]bool{
		"user=replicator":              false,
		"host=a,b user=r":              true,
		"hostaddr=10.0.0.1":            true,
		"user=r application_name=host": false,
		"":                             false,
	} {
		if got := hasHost(conninfo); got != want {
			t.Errorf("%q: got %v, want %v", conninfo, got, want)
		}
	}
}
