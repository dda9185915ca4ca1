package primary

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// spare is a process on n's host whose NATS is away, in a pool that is full.
func spare(n *node) *SnapshotUpkeep {
	full(n)
	return NewSnapshotUpkeep(n.cfg, n.ZFS, n.now, zerolog.Nop())
}

// journal is what the secondary sidecar of n's host is about to do.
func journal(t *testing.T, n *node, phase messages.Phase) {
	t.Helper()
	j := resync.NewJournal()
	j.ID, j.Phase, j.StartedAt = messages.NewResyncID(n.clock), phase, n.clock
	packed, err := messages.PackProperty(&j)
	if err == nil {
		err = n.ZFS.SetProperties(t.Context(), n.Root.Child("lineage"), map[string]string{messages.PropJournal: packed})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWithoutNATSAFullPoolIsRelievedAsWell(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	older, newest := take(t, n), take(t, n)
	hears(t, n, "db3", older.ID)
	u := spare(n)
	if err := u.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, n, older) + kept(t, n, newest); got != "##" {
		t.Errorf("kept %q, want the bookmarks only", got)
	}
	u.cfg.Dataset = n.Root.Child("not seeded")
	if err := u.once(t.Context()); err != nil {
		t.Errorf("a live dataset that is not there: %v", err)
	}
}

func TestWhereThereIsRoomNothingIsGivenUp(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	m := take(t, n)
	u := spare(n)
	u.cfg.PoolLimit = 100
	if err := u.once(t.Context()); err != nil || kept(t, n, m) != "@#" {
		t.Errorf("kept %q, %v", kept(t, n, m), err)
	}
}

// After the term uploads go on for as long as they wait for NATS.
func TestAfterATermSnapshotsAreGivenUpButForThoseThatAreSent(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	sent, newest := take(t, n), take(t, n)
	root, _ := sent.Dataset("")
	n.uploads.running = []messages.StreamRecord{{To: root.GUID}}
	u := spare(n)
	u.Heed(n.Service)
	for _, publishes := range []bool{true, false} {
		n.gate.set(publishes)
		if err := u.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "@#", false: "#"}[publishes]
		if got := kept(t, n, newest); got != want {
			t.Errorf("publishes %v: kept %q, want %q", publishes, got, want)
		}
	}
	if got := kept(t, n, sent); got != "@#" {
		t.Errorf("what is sent: kept %q, want the snapshot", got)
	}
}

func TestASnapshotThatTheSecondarySidecarGoesOnFromIsNotGivenUp(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	child := n.live.Child("ts")
	if err := n.ZFS.Create(t.Context(), child, nil); err != nil {
		t.Fatal(err)
	}
	n.publish(t)
	base, other := take(t, n), take(t, n)
	lineage := n.Root.Child("lineage")
	if err := n.ZFS.Create(t.Context(), lineage, map[string]string{messages.PropCluster: "main"}); err != nil {
		t.Fatal(err)
	}
	u := spare(n)
	journal(t, n, messages.PhasePlanning)
	err := u.once(t.Context())
	if !errors.Is(err, messages.ErrBusy) || !strings.Contains(err.Error(), "planning") {
		t.Errorf("got %v, want why nothing is given up", err)
	}
	if got := kept(t, n, base) + kept(t, n, other); got != "@#@#" {
		t.Errorf("in the middle of a resync: kept %q, want all", got)
	}

	// A lineage that was made just now has no journal yet.
	if err := n.ZFS.InheritProperty(t.Context(), lineage, messages.PropJournal); err != nil {
		t.Fatal(err)
	}
	if err := n.ZFS.Clone(t.Context(), n.live.Snapshot(base.ID.ShortName()), lineage.Child("branch"), nil); err != nil {
		t.Fatal(err)
	}
	// As one that was received, and became the live dataset's by a promotion.
	received := n.live.Snapshot(messages.NewSnapshotID(n.clock).ShortName())
	if err := n.ZFS.SnapshotTree(t.Context(), n.live, received.Short(), nil); err != nil {
		t.Fatal(err)
	}
	if err := u.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, n, base) + kept(t, n, other); got != "@##" {
		t.Errorf("kept %q, want the snapshot that something was received on", got)
	}
	if h := n.history(t, child); !hasSnapshot(h, base.ID) || hasSnapshot(h, other.ID) {
		t.Errorf("of the child: %v, want the rest of that snapshot", h)
	}
	n.guid(t, received)
}

// Nobody goes on with what was left behind, and another cluster's is none of ours.
func TestALineageThatNobodyUsesKeepsNoSnapshot(t *testing.T) {
	for name, tt := range map[string]struct {
		cluster string
		later   time.Duration
		want    string
	}{
		"ours":                 {"main", 0, "@#"},
		"ours, and left alone": {"main", 40 * 24 * time.Hour, "#"},
		"another cluster's":    {"other", 0, "#"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.mount(t, "")
			n.publish(t)
			m := take(t, n)
			if err := n.ZFS.Create(t.Context(), n.Root.Child("lineage"), map[string]string{messages.PropCluster: tt.cluster}); err != nil {
				t.Fatal(err)
			}
			u := spare(n)
			journal(t, n, messages.PhaseReceiving)
			n.clock = n.clock.Add(tt.later)
			if err := u.once(t.Context()); (err != nil) != (tt.want == "@#") {
				t.Error(err)
			}
			if got := kept(t, n, m); got != tt.want {
				t.Errorf("kept %q, want %q", got, tt.want)
			}
		})
	}
}

func hasSnapshot(h messages.History, id messages.SnapshotID) bool {
	for _, v := range h {
		if got, _ := messages.SnapshotIDOf(v.Name); got == id && !v.Bookmark {
			return true
		}
	}
	return false
}
