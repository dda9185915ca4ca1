package primary

import (
	"errors"
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
	n.world.nodes = []messages.NodeStatus{{Node: node, Sidecar: "secondary", Bases: bases}}
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

func TestInAFullPoolSnapshotsForTheWayBackAreGivenUp(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	base := take(t, n)
	hears(t, n, "db3", base.ID)
	for range 3 {
		take(t, n)
	}
	n.cfg.PoolLimit = -1
	if err := n.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, n, base); got != "#" {
		t.Errorf("kept %q, want the bookmark only", got)
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
