package primary

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// opZFS is a live dataset with a history.
type opZFS struct {
	ZFS
	mu        sync.Mutex
	marks     map[string]string
	history   messages.History
	destroyed []messages.SnapshotName
	brackets  int // how many got as far as asking where the cluster lives
}

const opDataset = messages.Dataset("tank/pg")

func (z *opZFS) List(_ context.Context, d messages.Dataset) ([]messages.DatasetInfo, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return []messages.DatasetInfo{{Name: d, Marks: maps.Clone(z.marks), Written: 99}}, nil
}

func (z *opZFS) Histories(context.Context, messages.Dataset) (map[messages.Dataset]messages.History, error) {
	return map[messages.Dataset]messages.History{opDataset: z.history}, nil
}

func (z *opZFS) SnapshotProperties(context.Context, messages.Dataset, ...string) (map[messages.SnapshotName]map[string]string, error) {
	return nil, nil
}

func (z *opZFS) Pool(context.Context, string) (messages.PoolInfo, error) {
	return messages.PoolInfo{Capacity: 40}, nil
}

func (z *opZFS) SetProperties(_ context.Context, _ messages.Dataset, props map[string]string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	maps.Copy(z.marks, props)
	return nil
}

func (z *opZFS) InheritProperty(_ context.Context, _ messages.Dataset, key string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.marks, key)
	return nil
}

func (z *opZFS) Release(context.Context, messages.SnapshotName, string) error { return nil }

func (z *opZFS) DestroySnapshot(_ context.Context, s messages.SnapshotName) error {
	z.destroyed = append(z.destroyed, s)
	return nil
}

func (z *opZFS) Bookmark(context.Context, messages.SnapshotName, string) error { return nil }

func (z *opZFS) Estimate(context.Context, messages.SendSpec) (uint64, error) { return 1234, nil }

// opDatabase refuses every bracket.
type opDatabase struct {
	*fakeDatabase
	zfs *opZFS
}

func (d opDatabase) Paths(context.Context) (messages.Paths, error) {
	d.zfs.mu.Lock()
	defer d.zfs.mu.Unlock()
	d.zfs.brackets++
	return messages.Paths{}, messages.ErrRefused
}

type slotsOfNobody = Slots

// opSlots knows no slots.
type opSlots struct{ slotsOfNobody }

func (opSlots) SlotsUnbounded(context.Context) (bool, error) { return false, nil }

type opUploads struct{ Uploads }

func (opUploads) Streams() []messages.StreamRecord {
	return []messages.StreamRecord{{Stream: "b"}, {Stream: "a"}}
}

func (opUploads) Sweep(context.Context, func() error) error { return nil }

type opAnnouncer struct{}

func (opAnnouncer) Publish(context.Context, messages.Event) error { return nil }

func (opAnnouncer) Nodes(context.Context) ([]messages.NodeStatus, error) { return nil, nil }

func (opAnnouncer) PutStatus(context.Context, messages.NodeStatus) error { return nil }

func opService(z *opZFS) *Service {
	return New(Config{
		Cluster: "main", Node: "db1", Dataset: opDataset, LeaseTTL: 10 * time.Second, Interval: time.Hour, PoolLimit: 90, KeepSnapshots: 1, KeepBookmarks: 5,
	}, Deps{
		Database: opDatabase{&fakeDatabase{id: messages.Identity{SystemID: 1, Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1}}}, z},
		Slots:    opSlots{}, ZFS: z, Uploads: opUploads{}, Leases: &fakeLeases{}, Announce: opAnnouncer{}, Now: time.Now, Log: zerolog.Nop(),
	})
}

// published runs a new process's service for as long as f does.
func published(t *testing.T, z *opZFS, f func(s *Service)) {
	t.Helper()
	s := opService(z)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	pass(t, time.Second)
	f(s)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAPausedPublisherTakesNoSnapshotBySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &opZFS{marks: map[string]string{}}
		published(t, z, func(s *Service) {
			pass(t, 90*time.Minute)
			if z.brackets == 0 {
				t.Fatal("the schedule asked for no snapshot")
			}
			if _, err := s.Pause(t.Context(), messages.OperatorRequest{By: "dba", Reason: "scrub"}); err != nil {
				t.Fatal(err)
			}
		})
		z.brackets = 0
		published(t, z, func(s *Service) {
			pass(t, 3*time.Hour)
			if z.brackets != 0 {
				t.Error("a snapshot was tried although the node was paused before its restart")
			}
			reply, err := s.Status(t.Context(), messages.OperatorRequest{})
			if err != nil || reply.Status.Paused == nil || reply.Status.Paused.Reason != "scrub" {
				t.Errorf("status %+v, %v", reply, err)
			}
			if _, err := s.TakeSnapshot(t.Context(), messages.OperatorRequest{}); !errors.Is(err, messages.ErrRefused) || z.brackets != 1 {
				t.Errorf("by hand: got %v, want it to be tried", err)
			}
			if _, err := s.Resume(t.Context(), messages.OperatorRequest{}); err != nil {
				t.Fatal(err)
			}
			pass(t, 90*time.Minute)
			if z.brackets < 2 {
				t.Error("the schedule did not go on after the resume")
			}
		})
		if len(z.marks) != 0 {
			t.Errorf("properties left: %v", z.marks)
		}
	})
}

func opHistory(n int) (h messages.History, ids []messages.SnapshotID) {
	for i := range n {
		id := messages.NewSnapshotID(time.Unix(int64(1_700_000_000+i), 0))
		ids = append(ids, id)
		h = append(h, messages.Snapshot{Name: opDataset.Snapshot(id.ShortName()), GUID: messages.GUID(i + 1), CreateTXG: messages.TXG(i + 1)})
	}
	return h, ids
}

func TestCleanupOfThePublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := opHistory(3)
		z := &opZFS{marks: map[string]string{}, history: h}
		published(t, z, func(s *Service) {
			for _, dry := range []bool{true, false} {
				z.destroyed = nil // by the upkeep of a new term
				reply, err := s.Cleanup(t.Context(), messages.OperatorRequest{DryRun: dry})
				if err != nil {
					t.Fatal(err)
				}
				if n := len(reply.Cleanup.Items); n != 2 || reply.Cleanup.Items[0].Name != string(h[0].Name) {
					t.Errorf("dry run %v: items %+v, want the two oldest", dry, reply.Cleanup.Items)
				}
				if want := map[bool]int{true: 0, false: 2}[dry]; len(z.destroyed) != want {
					t.Errorf("dry run %v: destroyed %v", dry, z.destroyed)
				}
			}
		})
	})
}

func TestEstimateStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, ids := opHistory(2)
		published(t, &opZFS{marks: map[string]string{}, history: h}, func(s *Service) {
			s.cat.add(&messages.Manifest{ID: ids[1], Datasets: []messages.ManifestDataset{{GUID: 2, Travels: true}}})
			got, err := s.Estimate(t.Context(), messages.StreamRequest{Node: "db2", To: 2, From: 1})
			if err != nil || got.Bytes != 1234 || got.Written != 99 {
				t.Errorf("got %+v, %v", got, err)
			}
			if _, err := s.Estimate(t.Context(), messages.StreamRequest{Node: "db2", To: 77}); !errors.Is(err, messages.ErrNotFound) {
				t.Errorf("a snapshot that is not there: got %v", err)
			}
			reply, err := s.ListStreams(t.Context(), messages.OperatorRequest{})
			if err != nil || len(reply.Streams) != 2 || reply.Streams[0].Stream != "a" {
				t.Errorf("streams %+v, %v", reply, err)
			}
		})
	})
}
