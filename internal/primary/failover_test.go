package primary

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/messages"
)

func ask(n *node, to, from messages.GUID) error {
	return askAs(n, "db3", to, from)
}

func TestAPromotedNodeOffersWhatItDescendsFrom(t *testing.T) {
	n := newNode(t)
	n.cfg.KeepBookmarks, n.cat.cfg.KeepBookmarks = 3, 3
	passes := n.received(t, "data", 3)
	n.mount(t, passes[1])
	n.run(t)
	if _, err := n.Facts(t.Context(), messages.FactsRequest{Node: "db3"}); !errors.Is(err, messages.ErrNotPrimary) {
		t.Fatalf("facts of a standby: got %v, want ErrNotPrimary", err)
	}
	n.role(messages.RolePrimary, 2)
	n.eventually(t, true)
	m, err := n.Snapshot(t.Context(), messages.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := n.Facts(t.Context(), messages.FactsRequest{Node: "db3"})
	if err != nil {
		t.Fatal(err)
	}
	root, _ := m.Dataset("")
	for i, p := range passes {
		guid := n.guid(t, p)
		v, offered := f.History("").ByGUID(guid)
		if want := i < 2; offered != want {
			t.Errorf("pass %d of 3, the live copy is of the 2nd: offered %v, want %v", i+1, offered, want)
			continue
		}
		if i > 1 {
			if err := ask(n, root.GUID, guid); !errors.Is(err, messages.ErrNotFound) {
				t.Errorf("stream from a pass that is not its past: got %v, want ErrNotFound", err)
			}
			continue
		}
		if !v.Bookmark || v.Name.Dataset() != n.live {
			t.Errorf("offered as %s, want a bookmark of the live dataset: the stream is a clone's otherwise", v.Name)
		}
		if err := ask(n, root.GUID, guid); err != nil {
			t.Errorf("stream from pass %d: %v", i+1, err)
		}
	}
}

// once fails the first time that a bookmark of the past is made.
type once struct {
	ZFS
	failed bool
}

func (o *once) BookmarkIn(ctx context.Context, s messages.SnapshotName, d messages.Dataset, short string) error {
	if !o.failed {
		o.failed = true
		return messages.ErrBusy
	}
	return o.ZFS.BookmarkIn(ctx, s, d, short)
}

func TestABaseOfThePastThatCouldNotBeHadIsTriedForAgain(t *testing.T) {
	n := newNode(t)
	pass := n.received(t, "data", 1)[0]
	n.mount(t, pass)
	n.cat.zfs = &once{ZFS: n.ZFS}
	n.publish(t)
	for _, want := range []int{0, 1} {
		if got := len(n.history(t, n.live)); got != want {
			t.Errorf("%d bases of the past, want %d", got, want)
		}
		if err := n.upkeepOnce(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestTheNextTermReadsTheDatasetsAnew(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.run(t)
	n.role(messages.RolePrimary, 1)
	n.eventually(t, true)
	first, err := n.Snapshot(t.Context(), messages.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	n.role(messages.RoleStandby, 1)
	n.eventually(t, false)
	// It was resynced meanwhile: another live dataset is in place.
	passes := n.received(t, "data", 1)
	if err := n.ZFS.Unmount(t.Context(), n.live); err != nil {
		t.Fatal(err)
	}
	if err := n.ZFS.Rename(t.Context(), n.live, n.live+".aside"); err != nil {
		t.Fatal(err)
	}
	n.mount(t, passes[0])
	n.role(messages.RolePrimary, 3)
	n.eventually(t, true)
	f, err := n.Facts(t.Context(), messages.FactsRequest{Node: "db3"})
	if err != nil {
		t.Fatal(err)
	}
	if f.Snapshot != nil {
		t.Errorf("it offers %s, which went with the dataset before", f.Snapshot.ID)
	}
	root, _ := first.Dataset("")
	if err := ask(n, root.GUID, 0); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("stream of a snapshot of the former live dataset: got %v, want ErrNotFound", err)
	}
}

func TestOfTwoPublishersTheOtherSaysWhyItDoesNot(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	why := errors.New("node db1 holds it on timeline 2 of system 1")
	set(&n.leases.mu, func() { n.leases.err = errors.Join(messages.ErrRefused, why) })
	n.turn(t.Context(), n.duty.refresh(t.Context()))
	for what, err := range map[string]error{
		"snapshot": func() error { _, err := n.Snapshot(t.Context(), messages.SnapshotRequest{}); return err }(),
		"stream":   ask(n, 1, 0),
		"slot": func() error {
			_, err := n.Slot(t.Context(), messages.SlotRequest{Action: messages.SlotReserve, Node: "db3", Resync: "06dkx6g0g800000000000002"})
			return err
		}(),
	} {
		if !errors.Is(err, messages.ErrNotPrimary) || !strings.Contains(err.Error(), why.Error()) {
			t.Errorf("%s: got %v, want ErrNotPrimary that says %q", what, err, why)
		}
	}
	n.putStatus(t.Context())
	if got := n.world.status.Evidence; !strings.Contains(got, why.Error()) {
		t.Errorf("status: got %q, want it to say %q", got, why)
	}
}

func TestASnapshotThatOutlivesTheLeaseIsDiscarded(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	n.pg.during = func() { n.clock = n.clock.Add(time.Minute) }
	if m, err := n.snaps.bracket.take(t.Context()); !errors.Is(err, messages.ErrNotPrimary) {
		t.Errorf("got %v, %v, want ErrNotPrimary", m, err)
	}
	if h := n.history(t, n.live); len(h) > 0 {
		t.Errorf("left behind: %v", h)
	}
}

func TestAStandbysBackupModeIsNotUsed(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	n.role(messages.RoleStandby, 1)
	if m, err := n.snaps.bracket.take(t.Context()); !errors.Is(err, messages.ErrNotPrimary) {
		t.Errorf("got %v, %v, want ErrNotPrimary", m, err)
	}
	if h := n.history(t, n.live); len(h) > 0 {
		t.Errorf("left behind: %v", h)
	}
}
