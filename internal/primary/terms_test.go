package primary

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// incomplete is what a bracket left that ended in the middle.
func incomplete(t *testing.T, n *node) messages.SnapshotName {
	t.Helper()
	id := messages.NewSnapshotID(n.clock)
	props := map[string]string{messages.PropID: string(id), messages.PropState: messages.StateBracketing}
	if err := n.ZFS.SnapshotTree(t.Context(), n.live, id.ShortName(), props); err != nil {
		t.Fatal(err)
	}
	return n.live.Snapshot(id.ShortName())
}

func TestALeftoverThatSomebodyHoldsDoesNotKeepTheTermFromBeginning(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	left := incomplete(t, n)
	const theirs = "somebody"
	if err := n.ZFS.Hold(t.Context(), left, theirs); err != nil {
		t.Fatal(err)
	}
	n.publish(t)
	if err := n.upkeepOnce(t.Context()); err != nil {
		t.Errorf("upkeep while it is held: %v", err)
	}
	if got := len(n.history(t, n.live)); got != 1 {
		t.Fatalf("%d versions, want the leftover", got)
	}
	if err := errors.Join(n.ZFS.Release(t.Context(), left, theirs), n.upkeepOnce(t.Context())); err != nil {
		t.Fatal(err)
	}
	if h := n.history(t, n.live); len(h) > 0 {
		t.Errorf("once nobody holds it: left %v", h)
	}
}

// The zfs of a sidecar that was killed may be done only when the next one has begun.
func TestASnapshotThatAppearsIncompleteIsRemoved(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	m := take(t, n)
	incomplete(t, n)
	n.duty.refresh(t.Context())
	if err := n.upkeepOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range n.history(t, n.live) {
		if id, _ := messages.SnapshotIDOf(v.Name); id != m.ID {
			t.Errorf("left %s", v.Name)
		}
	}
	if got := kept(t, n, m); got != "@#" {
		t.Errorf("of the complete one: kept %q", got)
	}
}

func TestUpkeepLeavesABracketInWorkAlone(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	n.pg.during = func() {
		if err := n.upkeepOnce(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if got := kept(t, n, take(t, n)); got != "@#" {
		t.Errorf("kept %q", got)
	}
}

// deaf is a ZFS that lists nothing.
type deaf struct{ ZFS }

func (deaf) List(context.Context, messages.Dataset) ([]messages.DatasetInfo, error) {
	return nil, errors.New("the pool is suspended")
}

func TestTheStatusSaysWhyATermDoesNotBegin(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.role(messages.RolePrimary, 1)
	n.duty.refresh(t.Context())
	n.standbys.zfs = deaf{n.ZFS}
	if err := n.begin(t.Context()); err == nil {
		t.Fatal("the term began")
	}
	if got := n.evidence(); !strings.Contains(got, "the pool is suspended") {
		t.Errorf("got %q, want the cause", got)
	}
	n.standbys.zfs = n.ZFS
	if err := n.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.evidence(); got != "" {
		t.Errorf("it publishes, with %q", got)
	}
}
