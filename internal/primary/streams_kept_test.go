package primary

import (
	"errors"
	"testing"
	"time"
)

// A resume token is of one snapshot. Between its tries a standby holds it by what
// was noted before the first byte: through restarts of the publisher, whatever the
// count says, and not for ever.
func TestSnapshotOfACutStreamIsKeptBetweenTries(t *testing.T) {
	n := newNode(t)
	n.mount(t, "")
	n.publish(t)
	m := take(t, n)
	root, _ := m.Dataset("")
	n.uploads.err = errors.New("cut")
	for range 2 {
		if err := ask(n, root.GUID, 0); err == nil {
			t.Fatal("the upload succeeded")
		}
		n.standbys.known, n.standbys.saved = nil, nil // the publisher is restarted
		if err := n.standbys.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.clock = n.clock.Add(22 * time.Hour)
		for range 5 {
			hears(t, n, "db4") // others go on
			take(t, n)
		}
		if got := kept(t, n, m); got != "@#" {
			t.Fatalf("22 hours after a cut: kept %q, want snapshot and bookmark", got)
		}
	}
	n.uploads.err = nil
	if err := ask(n, root.GUID, 0); err != nil {
		t.Errorf("it cannot be sent any more: %v", err)
	}
	n.clock = n.clock.Add(25 * time.Hour) // n.cfg.StandbyExpiry is a day
	hears(t, n, "db4")
	take(t, n)
	if got := kept(t, n, m); got != "" {
		t.Errorf("a standby that is gone for good holds %q", got)
	}
}
