package primary

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

func dataset(name messages.Dataset, mountpoint string) messages.DatasetInfo {
	return messages.DatasetInfo{
		Name: name, Mountpoint: mountpoint, Mounted: strings.HasPrefix(mountpoint, "/"),
		Encryption: "off", RecordSize: 16384, Compression: "lz4",
	}
}

func separateWAL() ([]messages.DatasetInfo, messages.Paths) {
	tree := []messages.DatasetInfo{
		dataset("tank/pg", "/srv/pg"), dataset("tank/pg/ts 1", "/srv/pg/space"), dataset("tank/pg/wal", "/srv/pgwal"),
	}
	paths := messages.Paths{
		DataDir: "/srv/pg/17", WALDir: "/srv/pgwal/wal", WALLink: true, Tablespaces: map[uint32]string{16400: "/srv/pg/space/a"},
	}
	return tree, paths
}

func TestLayoutFindsTheDatasetOfEveryDirectory(t *testing.T) {
	tree, paths := separateWAL()
	got, err := resolveLayout(Config{Dataset: "tank/pg"}, tree, paths)
	if err != nil {
		t.Fatal(err)
	}
	want := messages.Layout{
		DataDir: messages.Place{Path: "17"},
		WALDir:  messages.Place{Dataset: "wal", Path: "wal", Link: true},
		// The longest mount point wins: it lies inside the root's.
		Tablespaces: []messages.TablespacePlace{{OID: 16400, Place: messages.Place{Dataset: "ts 1", Path: "a", Link: true}}},
	}
	if diff := cmp.Diff(want, got.Layout); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
	kinds := map[messages.RelName]messages.DatasetKind{}
	for _, d := range got.datasets {
		kinds[d.Name] = d.Kind
		if travels := d.Name != "wal"; d.Travels != travels {
			t.Errorf("dataset %q travels: got %v, want %v", d.Name, d.Travels, travels)
		}
	}
	wantKinds := map[messages.RelName]messages.DatasetKind{"": messages.KindData, "wal": messages.KindWAL, "ts 1": messages.KindTablespace}
	if diff := cmp.Diff(wantKinds, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if got.flags != messages.FlagsPlain {
		t.Errorf("flags: got %q, want %q", got.flags, messages.FlagsPlain)
	}
}

func TestWALTravelsWhenAskedForOrInsideTheData(t *testing.T) {
	tree, paths := separateWAL()
	got, err := resolveLayout(Config{Dataset: "tank/pg", SendWAL: true}, tree, paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range got.datasets {
		if !d.Travels {
			t.Errorf("with SendWAL %q does not travel", d.Name)
		}
	}
	got, err = resolveLayout(Config{Dataset: "tank/pg"}, tree[:1], messages.Paths{DataDir: "/srv/pg/17", WALDir: "/srv/pg/17/pg_wal"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.datasets) != 1 || !got.datasets[0].Travels {
		t.Errorf("WAL inside the data: got %+v, want one dataset that travels", got.datasets)
	}
}

func TestLayoutRefusesWhatOneSnapshotDoesNotCover(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(tree *[]messages.DatasetInfo, p *messages.Paths)
		cfg    Config
		names  string
	}{
		"a tablespace elsewhere": {
			change: func(_ *[]messages.DatasetInfo, p *messages.Paths) { p.Tablespaces[16401] = "/mnt/other" }, names: "/mnt/other",
		},
		"a directory whose name only begins like the mount point": {
			change: func(_ *[]messages.DatasetInfo, p *messages.Paths) { p.WALDir = "/srv/pgwal2" }, names: "/srv/pgwal2",
		},
		"a dataset that is not mounted": {
			change: func(tree *[]messages.DatasetInfo, _ *messages.Paths) { (*tree)[2].Mounted = false }, names: "/srv/pgwal/wal",
		},
		"a child that holds nothing of the cluster": {
			change: func(tree *[]messages.DatasetInfo, _ *messages.Paths) {
				*tree = append(*tree, dataset("tank/pg/home", "/home"))
			}, names: "tank/pg/home",
		},
		"a tablespace on an ignored child": {cfg: Config{Ignore: []messages.RelName{"ts 1"}}, names: "tank/pg/ts 1"},
		"encrypted and plain ones mixed": {
			change: func(tree *[]messages.DatasetInfo, _ *messages.Paths) { (*tree)[1].Encryption = "aes-256-gcm" }, names: "encrypted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree, paths := separateWAL()
			if tt.change != nil {
				tt.change(&tree, &paths)
			}
			tt.cfg.Dataset = "tank/pg"
			_, err := resolveLayout(tt.cfg, tree, paths)
			if !errors.Is(err, messages.ErrRefused) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("got %v, want a refusal that names %s", err, tt.names)
			}
		})
	}
}

func TestIgnoredChildrenAreNotInTheManifest(t *testing.T) {
	tree, paths := separateWAL()
	tree = append(tree, dataset("tank/pg/home", "/home"), dataset("tank/pg/home/a", "/home/a"), dataset("tank/pg/homes", "none"))
	got, err := resolveLayout(Config{Dataset: "tank/pg", Ignore: []messages.RelName{"home"}}, tree, paths)
	if err != nil {
		t.Fatal(err)
	}
	var names []messages.RelName
	for _, d := range got.datasets {
		names = append(names, d.Name)
	}
	if diff := cmp.Diff([]messages.RelName{"", "ts 1", "wal", "homes"}, names); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
}
