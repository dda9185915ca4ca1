package primary

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/messages"
)

func askAs(n *node, who messages.NodeName, to, from messages.GUID) error {
	_, err := n.Stream(n.ctx(), messages.StreamRequest{Node: who, To: to, From: from})
	return err
}

// take takes a snapshot as the service does and returns its manifest.
func take(t *testing.T, n *node) *messages.Manifest {
	t.Helper()
	n.clock = n.clock.Add(time.Second)
	n.duty.refresh(t.Context())
	m, err := n.snaps.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// kept tells what is left of a snapshot: "@", "#", "@#" or "".
func kept(t *testing.T, n *node, m *messages.Manifest) string {
	t.Helper()
	out := ""
	for _, v := range n.history(t, n.live) {
		if id, _ := messages.SnapshotIDOf(v.Name); id == m.ID {
			out += map[bool]string{false: "@", true: "#"}[v.Bookmark]
		}
	}
	return out
}

func hears(t *testing.T, n *node, node messages.NodeName, bases ...messages.SnapshotID) {
	t.Helper()
	tells(t, n, messages.NodeStatus{Node: node, Bases: bases})
}

// tells is a round of housekeeping with one standby's presence record.
func tells(t *testing.T, n *node, s messages.NodeStatus) {
	t.Helper()
	s.Sidecar = "secondary"
	n.world.nodes = []messages.NodeStatus{s}
	n.duty.refresh(t.Context())
	if err := n.upkeepOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What is written while the checkpoint takes its time is in the snapshot.
func TestTheManifestTellsTheSizeOfTheSnapshot(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	n.pg.before = func() { n.Write(t, n.live, 1<<20) }
	m := take(t, n)
	if d, _ := m.Dataset(""); d.Referenced < 1<<20 {
		t.Errorf("referenced is %d, want at least what the snapshot holds", d.Referenced)
	}
}

func TestTheBaseOfAKnownStandbyOutlivesTheCount(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	forgotten, old, base := take(t, n), take(t, n), take(t, n)
	hears(t, n, "db3", base.ID, old.ID)
	for range 5 {
		take(t, n)
	}
	if got := kept(t, n, base); got != "@#" {
		t.Errorf("the newest base: kept %q, want the snapshot too: this node may have to come back on it", got)
	}
	if got := kept(t, n, old); got != "#" {
		t.Errorf("an older base: kept %q, want a bookmark", got)
	}
	if got := kept(t, n, forgotten); got != "" {
		t.Errorf("a snapshot that nobody has: kept %q", got)
	}
	// A restart forgets nothing.
	if err := n.standbys.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	take(t, n)
	if got := kept(t, n, old); got != "#" {
		t.Errorf("after a restart: kept %q, want a bookmark", got)
	}
	n.clock = n.clock.Add(25 * time.Hour)
	hears(t, n, "db4")
	if got := kept(t, n, base) + kept(t, n, old); got != "" {
		t.Errorf("the standby was not seen for longer than a day: kept %q", got)
	}
}

func TestWhatIsBeingSentIsKeptUntilTheStandbySaysThatItHasIt(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	m := take(t, n)
	root, _ := m.Dataset("")
	n.uploads.err = errors.New("the upload died")
	if err := ask(n, root.GUID, 0); err == nil {
		t.Fatal("the upload succeeded")
	}
	for range 5 {
		take(t, n)
	}
	if got := kept(t, n, m); got != "@#" {
		t.Errorf("sent, not confirmed: kept %q, want snapshot and bookmark", got)
	}
	newer := take(t, n)
	hears(t, n, "db3", newer.ID, m.ID)
	if got := kept(t, n, m); got != "#" {
		t.Errorf("confirmed, and the standby has a newer one: kept %q, want a bookmark", got)
	}
}

// A standby may live on, and its resync be dropped.
func TestWhatADroppedResyncWasSentIsNotKeptForever(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	base, m := take(t, n), take(t, n)
	root, _ := m.Dataset("")
	n.uploads.err = errors.New("the upload died")
	if err := ask(n, root.GUID, 0); err == nil {
		t.Fatal("the upload succeeded")
	}
	n.cfg.KeepBookmarks, n.standbys.cfg.StandbyExpiry = 100, 30*24*time.Hour
	for range 3 {
		take(t, n)
	}
	for _, tt := range []struct {
		what  string
		hours int
		away  bool // or else it tells every hour
		sent  []messages.NodeName
		phase messages.Phase
		want  string
	}{
		{"while it is sent, whatever it tells", 25, false, []messages.NodeName{"db3"}, messages.PhaseIdle, "@#"},
		{"it rests", 23, false, nil, messages.PhaseIdle, "@#"},
		{"it waits for its operator", 30, false, nil, messages.PhaseNeedsOperator, "@#"},
		{"it was away", 30, true, nil, messages.PhaseIdle, "@#"},
		{"it rests again", 23, false, nil, messages.PhaseIdle, "@#"},
		{"and still does", 3, false, nil, messages.PhaseIdle, "#"},
	} {
		n.uploads.running = nil
		if tt.sent != nil {
			n.uploads.running = []messages.StreamRecord{{To: root.GUID, Readers: tt.sent}}
		}
		every := time.Hour
		if tt.away {
			every, tt.hours = time.Duration(tt.hours)*time.Hour, 1
		}
		told := messages.NodeStatus{Node: "db3", Sidecar: "secondary", Bases: []messages.SnapshotID{base.ID}, Phase: tt.phase}
		for range tt.hours {
			n.clock = n.clock.Add(every)
			if err := n.standbys.heard(t.Context(), []messages.NodeStatus{told}, n.sends); err != nil {
				t.Fatal(err)
			}
		}
		tells(t, n, told)
		if got := kept(t, n, m); got != tt.want {
			t.Errorf("%s: kept %q, want %q", tt.what, got, tt.want)
		}
	}
}

func TestAnUnsentSnapshotIsNotSentWhenItCannotBeNoted(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	root, _ := take(t, n).Dataset("")
	n.standbys.zfs = mute{n.standbys.zfs}
	if err := ask(n, root.GUID, 0); !errors.Is(err, messages.ErrPermission) || len(n.uploads.joined) > 0 {
		t.Errorf("got %v and %d uploads, want ErrPermission and none", err, len(n.uploads.joined))
	}
}

// full makes the pool one that is above its limit.
func full(n *node) { n.cfg.PoolLimit, n.snaps.bracket.cfg.PoolLimit = -1, -1 }

func TestInAFullPoolSnapshotsForTheWayBackAreGivenUp(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	base := take(t, n)
	hears(t, n, "db3", base.ID)
	for range 3 {
		take(t, n)
	}
	full(n)
	if err := n.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, n, base); got != "#" {
		t.Errorf("kept %q, want the bookmark only", got)
	}
}

// A snapshot pins all that is overwritten after it: where no more are taken, those that
// are there would fill the pool.
func TestInAFullPoolOnlyWhatIsBeingSentStays(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	older, sent, newest := take(t, n), take(t, n), take(t, n)
	root, _ := sent.Dataset("")
	full(n)
	n.uploads.running = []messages.StreamRecord{{To: root.GUID}}
	reply, err := n.Cleanup(t.Context(), messages.OperatorRequest{DryRun: true})
	if err != nil || len(reply.Cleanup.Items) != 1 || !strings.Contains(reply.Cleanup.Items[0].Why, "of the pool") {
		t.Errorf("cleanup would remove %+v, %v, want the newest snapshot, and the pool as the reason", reply, err)
	}
	for _, sending := range []bool{true, false} {
		if !sending {
			n.uploads.running = nil
		}
		if err := n.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "@#", false: "#"}
		if got := kept(t, n, sent); got != want[sending] {
			t.Errorf("while it is sent %v: kept %q, want %q", sending, got, want[sending])
		}
		if got := kept(t, n, older) + kept(t, n, newest); got != "##" {
			t.Errorf("the others: kept %q, want a bookmark of each: no increment is lost", got)
		}
	}
}

func TestAStandbyThatNeedsASnapshotOfAFullPoolWaits(t *testing.T) {
	n := newNode(t)
	n.cfg.Gather, n.snaps.cfg.Gather = 0, 0
	n.mount(t, "")
	n.publish(t)
	take(t, n)
	full(n)
	if err := n.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.snaps.run(t.Context()) }()
	_, err := n.Snapshot(t.Context(), messages.SnapshotRequest{Node: "db3", MinStartLSN: 1})
	if !errors.Is(err, messages.ErrUnavailable) || errors.Is(err, messages.ErrRefused) || !strings.Contains(err.Error(), "PGRESYNC_POOL_LIMIT") {
		t.Errorf("a standby: got %v, want ErrUnavailable that names the limit", err)
	}
	if _, err := n.TakeSnapshot(t.Context(), messages.OperatorRequest{}); !errors.Is(err, messages.ErrRefused) {
		t.Errorf("an operator: got %v, want ErrRefused", err)
	}
}

// quota leaves the live dataset less than the pool has.
type quota struct {
	ZFS
	available uint64
}

func (q quota) List(ctx context.Context, d messages.Dataset) ([]messages.DatasetInfo, error) {
	tree, err := q.ZFS.List(ctx, d)
	if err == nil {
		tree[0].Used, tree[0].Available = 900, q.available
	}
	return tree, err
}

func TestAQuotaIsALimitAsThePoolIs(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	m := take(t, n)
	for _, tt := range []struct {
		available uint64
		cramped   bool
	}{{100, false}, {80, true}} {
		n.zfs = quota{n.ZFS, tt.available}
		n.snaps.bracket.zfs = n.zfs
		if _, err := n.snaps.bracket.gates(t.Context()); errors.Is(err, messages.ErrRefused) != tt.cramped {
			t.Errorf("%d left of the quota: got %v, refused %v wanted", tt.available, err, tt.cramped)
		}
		if err := n.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := kept(t, n, m), map[bool]string{true: "#", false: "@#"}[tt.cramped]; got != want {
			t.Errorf("%d left of the quota: kept %q, want %q", tt.available, got, want)
		}
	}
}

// ample is a pool that is hardly used.
type ample struct{ Tree }

func (ample) Pool(context.Context, string) (messages.PoolInfo, error) {
	return messages.PoolInfo{Capacity: 10}, nil
}

func TestRoomMeasuresWhatSnapshotsCountAgainst(t *testing.T) {
	const g = 1 << 30
	cfg := Config{Dataset: "tank/pg", Ignore: []messages.RelName{"logs"}, PoolLimit: 90}
	plenty := messages.DatasetInfo{Name: "tank/pg", Used: 280 * g, Referenced: 80 * g, Available: 1000 * g}
	for _, tt := range []struct {
		name string
		tree []messages.DatasetInfo
		want string // the dataset that is cramped
	}{
		{"plenty", []messages.DatasetInfo{plenty}, ""},
		{"a refquota cuts what is available, and snapshots do not count", []messages.DatasetInfo{{Name: "tank/pg", Used: 280 * g, Referenced: 80 * g, Available: 20 * g, RefQuota: 100 * g}}, ""},
		{"nearly all of a refquota is live data", []messages.DatasetInfo{{Name: "tank/pg", Used: 91 * g, Referenced: 91 * g, Available: 9 * g, RefQuota: 100 * g}}, ""},
		{"a quota beside a refquota", []messages.DatasetInfo{{Name: "tank/pg", Used: 280 * g, Referenced: 80 * g, Available: 20 * g, RefQuota: 100 * g, Quota: 300 * g}}, "tank/pg"},
		{"a refquota, and less than that left by a parent's quota", []messages.DatasetInfo{{Name: "tank/pg", Used: 975 * g, Referenced: 300 * g, Available: 25 * g, RefQuota: 400 * g}}, "tank/pg"},
		{"a refquota while much is written", []messages.DatasetInfo{{Name: "tank/pg", Used: 280 * g, Referenced: 80 * g, Available: 19*g + g/2, RefQuota: 100 * g}}, ""},
		{"less than what is there", []messages.DatasetInfo{{Name: "tank/pg", Used: 280 * g, Referenced: 101 * g, RefQuota: 100 * g}}, ""},
		{"a quota", []messages.DatasetInfo{{Name: "tank/pg", Used: 95 * g, Referenced: 50 * g, Available: 5 * g, Quota: 100 * g}}, "tank/pg"},
		{"a quota of a parent", []messages.DatasetInfo{{Name: "tank/pg", Used: 95 * g, Referenced: 50 * g, Available: 5 * g}}, "tank/pg"},
		{"a quota of a child", []messages.DatasetInfo{plenty, {Name: "tank/pg/ts", Used: 19 * g, Available: 1 * g, Quota: 20 * g}}, "tank/pg/ts"},
		{"one of a child that is ignored", []messages.DatasetInfo{plenty, {Name: "tank/pg/logs/old", Used: 19 * g, Available: 1 * g, Quota: 20 * g}}, ""},
		{"one of a child that is not sent", []messages.DatasetInfo{plenty, {Name: "tank/pg/wal", Used: 19 * g, Available: 1 * g, Quota: 20 * g}}, ""},
		{"nothing at all", []messages.DatasetInfo{{Name: "tank/pg"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := room(t.Context(), cfg, ample{}, tt.tree, func(name messages.RelName) bool { return name == "wal" })
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), "dataset "+tt.want+",")) {
				t.Errorf("got %v, want a complaint about %q", err, tt.want)
			}
		})
	}
}

// withWAL gives the node a pg_wal of its own, which is not sent.
func withWAL(t *testing.T, n *node) messages.Dataset {
	t.Helper()
	wal := n.live.Child("wal")
	err := n.ZFS.Create(t.Context(), wal, map[string]string{"mountpoint": "/srv/wal"})
	if err = errors.Join(err, n.ZFS.Mount(t.Context(), wal)); err != nil {
		t.Fatal(err)
	}
	n.pg.paths.WALDir, n.pg.paths.WALLink = "/srv/wal", true
	return wal
}

// A snapshot of pg_wal pins every segment that is used again, and nobody is sent it.
func TestNoSnapshotOfWhatIsNotSentIsKept(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	wal := withWAL(t, n)
	n.publish(t)
	n.clock = n.clock.Add(time.Second)
	n.duty.refresh(t.Context())
	if _, err := n.snaps.bracket.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.history(t, wal); len(got) > 0 {
		t.Errorf("after a bracket: %v", got)
	}
	first := take(t, n)
	// One that a bracket could not destroy, or an earlier version left, has no bookmark.
	left := wal.Snapshot(messages.NewSnapshotID(n.clock).ShortName())
	err := n.ZFS.SnapshotTree(t.Context(), wal, left.Short(), map[string]string{messages.PropID: strings.TrimPrefix(left.Short(), "pgresync-")})
	if err = errors.Join(err, n.ZFS.Hold(t.Context(), left, messages.HoldTag), n.cat.refresh(t.Context()), n.prune(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := n.history(t, wal); len(got) > 0 {
		t.Errorf("after a round of pruning: %v", got)
	}
	if got := kept(t, n, first); got != "@#" {
		t.Errorf("of the data: kept %q, want snapshot and bookmark", got)
	}
	if err := n.cat.load(t.Context()); err != nil || n.cat.newest() == nil {
		t.Errorf("after a restart: the newest is %v, %v", n.cat.newest(), err)
	}
}

// Where there is no room there is none for a bookmark either.
func TestInAFullPoolASnapshotGoesWithoutABookmarkUnlessAStandbyNeedsIt(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	base, other := take(t, n), take(t, n)
	hears(t, n, "db3", base.ID)
	for _, m := range []*messages.Manifest{base, other} {
		if err := n.ZFS.DestroyBookmark(t.Context(), messages.SnapshotName(string(n.live)+"#"+m.ID.ShortName())); err != nil {
			t.Fatal(err)
		}
	}
	full(n)
	n.cat.zfs = unmarkable{n.ZFS}
	if err := n.cat.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.prune(t.Context()); !errors.Is(err, messages.ErrPermission) {
		t.Errorf("got %v, want why there is no bookmark", err)
	}
	if got := kept(t, n, base) + kept(t, n, other); got != "@" {
		t.Errorf("kept %q, want the base's snapshot only", got)
	}
}

// What is ignored may be another cluster's, with a publisher of its own.
func TestWhatAnotherPublisherKeepsBelowUsIsNotTouched(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	other := n.live.Child("other")
	theirs := other.Snapshot(messages.NewSnapshotID(n.clock).ShortName())
	id, _ := messages.SnapshotIDOf(theirs)
	err := errors.Join(
		n.ZFS.Create(t.Context(), other, nil),
		n.ZFS.SnapshotTree(t.Context(), other, theirs.Short(), map[string]string{messages.PropID: string(id), messages.PropState: messages.StateComplete}),
		n.ZFS.Hold(t.Context(), theirs, messages.HoldTag),
		n.ZFS.Bookmark(t.Context(), theirs, theirs.Short()),
	)
	if err != nil {
		t.Fatal(err)
	}
	n.cat.cfg.Ignore, n.snaps.bracket.cfg.Ignore = []messages.RelName{"other"}, []messages.RelName{"other"}
	n.publish(t)
	want := n.history(t, other)
	for _, pressed := range []bool{false, true} {
		if pressed {
			full(n)
			if err := n.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			take(t, n)
		}
		if got := n.history(t, other); !slices.Equal(got, want) {
			t.Errorf("full %v: got %v, want %v", pressed, got, want)
		}
	}
	if err := n.ZFS.DestroySnapshot(t.Context(), theirs); !errors.Is(err, messages.ErrBusy) {
		t.Errorf("destroy what they hold: got %v, want %v", err, messages.ErrBusy)
	}
}

// A pass is one stream after the other: those to come are in use, too.
func TestTheRestOfWhatIsBeingSentIsInUse(t *testing.T) {
	n := newNode(t)
	n.cat.add(&messages.Manifest{Datasets: []messages.ManifestDataset{{GUID: 5, Travels: true}, {Name: "ts", GUID: 6, Travels: true}, {Name: "wal", GUID: 7}}})
	n.uploads.running = []messages.StreamRecord{{To: 5, From: 4}}
	want := map[messages.GUID]bool{4: true, 5: true, 6: true}
	if got := n.inUse(nil); !maps.Equal(got, want) {
		t.Errorf("in use: %v, want %v", got, want)
	}
}

// The bound may be crossed while a bracket is open.
func TestASnapshotThatIsNotCompleteYetIsInUse(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	n.pg.during = func() {
		full(n)
		if err := errors.Join(n.cat.refresh(t.Context()), n.prune(t.Context())); err != nil {
			t.Error(err)
		}
	}
	n.clock = n.clock.Add(time.Second)
	n.duty.refresh(t.Context())
	if _, err := n.snaps.bracket.take(t.Context()); err != nil {
		t.Error(err)
	}
}

// unmarkable is a ZFS that makes no bookmark.
type unmarkable struct{ ZFS }

func (unmarkable) Bookmark(context.Context, messages.SnapshotName, string) error {
	return messages.ErrPermission
}

func TestASnapshotWithoutItsBookmarkIsNotDestroyed(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	m := take(t, n)
	if err := n.ZFS.DestroyBookmark(t.Context(), messages.SnapshotName(string(n.live)+"#"+m.ID.ShortName())); err != nil {
		t.Fatal(err)
	}
	take(t, n)
	n.cat.zfs = unmarkable{n.ZFS}
	take(t, n)
	if err := n.prune(t.Context()); !errors.Is(err, messages.ErrPermission) {
		t.Errorf("got %v, want why it is not bookmarked", err)
	}
	if got := kept(t, n, m); got != "@" {
		t.Errorf("kept %q, want the snapshot: it is a base that nothing else holds", got)
	}
}

func TestAClockThatIsSetBackChangesNoOrder(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	take(t, n)
	n.clock = n.clock.Add(-time.Hour)
	if m := n.snaps.serving(0, time.Minute); m != nil {
		t.Errorf("%s is from the future, and was served as one of the last minute", m.ID)
	}
	newest := take(t, n)
	if err := n.cat.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.cat.newest(); got.ID != newest.ID {
		t.Errorf("the newest is %s, want %s, which was taken last", got.ID, newest.ID)
	}
}

func TestUnboundedSlotsAreWarnedOf(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.pg.unbounded = true
	n.publish(t)
	if got := n.evidence(); got != unboundedSlots {
		t.Errorf("got %q, want the warning", got)
	}
}
