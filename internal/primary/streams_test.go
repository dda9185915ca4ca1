package primary

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// fakeUploads counts.
type fakeUploads struct {
	mu            sync.Mutex
	joined, swept int
	fail          error
}

func (u *fakeUploads) Join(_ context.Context, rec messages.StreamRecord, _ messages.NodeName, _ messages.MessageID,
	_ func(context.Context) (io.ReadCloser, error),
) (messages.StreamRecord, error) {
	u.joined++
	return rec, nil
}

func (*fakeUploads) Streams() []messages.StreamRecord { return nil }

func (u *fakeUploads) Sweep(_ context.Context, onDuty func() error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.swept++
	return errors.Join(onDuty(), u.fail)
}

// sweeps are those so far; from now on they end in fail.
func (u *fakeUploads) sweeps(fail error) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fail = fail
	return u.swept
}

// sender is a ZFS that can tell how long a stream will be.
type sender struct{ ZFS }

func (sender) Estimate(context.Context, messages.SendSpec) (uint64, error) { return 1000, nil }

func publisher(t *testing.T, u *fakeUploads) *Service {
	t.Helper()
	s := New(Config{Cluster: "main", Node: "db1", Dataset: "tank/pg"}, Deps{Uploads: u, ZFS: sender{}, Now: time.Now, Log: zerolog.Nop()})
	s.duty.revision, s.duty.until = 7, time.Now().Add(24*time.Hour)
	s.gate.set(true)
	return s
}

func (sender) SetProperties(context.Context, messages.Dataset, map[string]string) error { return nil }

func TestSweepIsForWhoIsOnDuty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUploads{}
		s := publisher(t, u)
		s.duty.revision = 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = s.sweep(ctx) }()
		pass := func(d time.Duration) { timer := time.NewTimer(d); <-timer.C; synctest.Wait() }
		set := func(revision uint64) { s.duty.mu.Lock(); s.duty.revision = revision; s.duty.mu.Unlock() }
		pass(3 * time.Hour)
		if n := u.sweeps(nil); n != 0 {
			t.Fatalf("%d sweeps off duty", n)
		}
		set(7)
		pass(2 * time.Second)
		if n := u.sweeps(nil); n != 1 {
			t.Fatalf("%d sweeps right after coming on duty, want 1", n)
		}
		pass(time.Hour)
		if n := u.sweeps(errors.New("no answer")); n != 2 {
			t.Errorf("%d sweeps after an hour, want 2", n)
		}
		set(0)
		pass(2 * time.Second)
		set(8)
		pass(20 * time.Second)
		if n := u.sweeps(nil); n != 4 {
			t.Errorf("%d sweeps, want one more for the new term and one because that failed", n)
		}
	})
}

func TestStreamThatDoesNotFitIsRefusedBeforeItIsBegun(t *testing.T) {
	u := &fakeUploads{}
	s := publisher(t, u)
	id := messages.NewSnapshotID(time.Now())
	name := messages.Dataset("tank/pg").Snapshot(id.ShortName())
	s.cat.manifests = []*messages.Manifest{{ID: id, Flags: messages.FlagsPlain, Datasets: []messages.ManifestDataset{{GUID: 2, Travels: true}}}}
	s.cat.histories = map[messages.Dataset]messages.History{"tank/pg": {{Name: name, GUID: 2, CreateTXG: 5}}}
	for room, fits := range map[uint64]bool{0: true, 1049: false, 1050: true} {
		u.joined = 0
		_, err := s.Stream(t.Context(), messages.StreamRequest{Node: "db2", To: 2, Room: room})
		if fits && err != nil || !fits && !errors.Is(err, messages.ErrNoSpace) || (u.joined == 1) != fits {
			t.Errorf("room for %d bytes: joined %d times, error %v", room, u.joined, err)
		}
	}
}
