package secondary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// kinsman is what the model knows of one dataset.
type kinsman struct {
	info     messages.DatasetInfo
	versions messages.History
	held     map[messages.SnapshotName]bool
}

// estate is the part of ZFS that arranges history. A promotion onto a bookmark of
// the same name ends the test: the real one ends the pool.
type estate struct {
	ZFS
	t    testing.TB
	all  map[messages.Dataset]*kinsman
	txg  messages.TXG
	guid messages.GUID
}

func (m *estate) make(d messages.Dataset, origin messages.SnapshotName) {
	m.guid++
	m.all[d] = &kinsman{
		info: messages.DatasetInfo{Name: d, GUID: m.guid, Origin: origin, Marks: map[string]string{messages.PropCluster: "main"}},
		held: map[messages.SnapshotName]bool{},
	}
}

// snap adds a version, of d's own making or received.
func (m *estate) snap(d messages.Dataset) messages.Snapshot {
	m.txg++
	m.guid++
	v := messages.Snapshot{Name: d.Snapshot(messages.NewSnapshotID(time.Now()).ShortName()), GUID: m.guid, CreateTXG: m.txg}
	m.all[d].versions = append(m.all[d].versions, v)
	return v
}

func (m *estate) mark(d messages.Dataset, of messages.Snapshot, short string) {
	b := messages.Snapshot{Name: messages.SnapshotName(string(d) + "#" + short), GUID: of.GUID, CreateTXG: of.CreateTXG, Bookmark: true}
	if !slices.Contains(m.all[d].versions, b) {
		m.all[d].versions = append(m.all[d].versions, b)
		m.all[d].versions.Sort()
	}
}

func (m *estate) names(root messages.Dataset) []messages.Dataset {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.all)), func(d messages.Dataset) bool {
		_, ok := d.Rel(root)
		return !ok
	})
}

func (m *estate) List(_ context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	if m.all[root] == nil {
		return nil, messages.ErrNotFound
	}
	var out []messages.DatasetInfo
	for _, d := range m.names(root) {
		out = append(out, m.all[d].info)
	}
	return out, nil
}

func (m *estate) Survey(ctx context.Context, root messages.Dataset) ([]messages.DatasetInfo, error) {
	return m.List(ctx, root)
}

func (m *estate) Histories(_ context.Context, root messages.Dataset) (map[messages.Dataset]messages.History, error) {
	if m.all[root] == nil {
		return nil, messages.ErrNotFound
	}
	out := map[messages.Dataset]messages.History{}
	for _, d := range m.names(root) {
		out[d] = slices.Clone(m.all[d].versions)
	}
	return out, nil
}

func (m *estate) Promote(_ context.Context, d messages.Dataset) error {
	clone := m.all[d]
	from := clone.info.Origin.Dataset()
	old := m.all[from]
	i := slices.IndexFunc(old.versions, func(v messages.Snapshot) bool { return v.Name == clone.info.Origin })
	limit := old.versions[i].CreateTXG
	moved := map[messages.SnapshotName]messages.SnapshotName{}
	for _, v := range slices.Clone(old.versions) {
		if v.CreateTXG > limit {
			continue
		}
		name := messages.SnapshotName(string(d) + string(v.Name[len(from):]))
		if slices.ContainsFunc(clone.versions, func(o messages.Snapshot) bool { return o.Name == name }) {
			m.t.Fatalf("promote %s: %s is there already; the pool would halt", d, name)
		}
		old.versions = slices.DeleteFunc(old.versions, func(o messages.Snapshot) bool { return o == v })
		moved[v.Name], clone.held[name] = name, old.held[v.Name]
		v.Name = name
		clone.versions = append(clone.versions, v)
	}
	clone.versions.Sort()
	clone.info.Origin, old.info.Origin = old.info.Origin, moved[clone.info.Origin]
	for _, fs := range m.all {
		if to, ok := moved[fs.info.Origin]; ok && fs != old {
			fs.info.Origin = to
		}
	}
	return nil
}

func (m *estate) Bookmark(_ context.Context, s messages.SnapshotName, short string) error {
	for _, v := range m.all[s.Dataset()].versions {
		if v.Name == s {
			m.mark(s.Dataset(), v, short)
			return nil
		}
	}
	return messages.ErrNotFound
}

func (m *estate) Release(_ context.Context, s messages.SnapshotName, _ string) error {
	delete(m.all[s.Dataset()].held, s)
	return nil
}

func (m *estate) cloned(s messages.SnapshotName) bool {
	for _, fs := range m.all {
		if fs.info.Origin == s {
			return true
		}
	}
	return false
}

func (m *estate) destroy(v messages.SnapshotName) error {
	fs := m.all[v.Dataset()]
	if fs.held[v] || m.cloned(v) {
		return messages.ErrBusy
	}
	fs.versions = slices.DeleteFunc(fs.versions, func(o messages.Snapshot) bool { return o.Name == v })
	return nil
}

func (m *estate) DestroySnapshot(_ context.Context, s messages.SnapshotName) error {
	return m.destroy(s)
}

func (m *estate) DestroyBookmark(_ context.Context, b messages.SnapshotName) error {
	return m.destroy(b)
}

func (m *estate) DestroyDataset(_ context.Context, root messages.Dataset) error {
	for _, d := range m.names(root) {
		for _, v := range m.all[d].versions {
			if m.all[d].held[v.Name] || m.cloned(v.Name) {
				return fmt.Errorf("destroy %s: %s: %w", root, v.Name, messages.ErrBusy)
			}
		}
	}
	for _, d := range m.names(root) {
		delete(m.all, d)
	}
	return nil
}

func (m *estate) Rename(_ context.Context, from, to messages.Dataset) error {
	for _, d := range m.names(from) {
		fs := m.all[d]
		delete(m.all, d)
		name := to + d[len(from):]
		fs.info.Name = name
		held := map[messages.SnapshotName]bool{}
		for i, v := range fs.versions {
			fs.versions[i].Name = messages.SnapshotName(string(name) + string(v.Name[len(d):]))
			held[fs.versions[i].Name] = fs.held[v.Name]
		}
		fs.held = held
		m.all[name] = fs
		for _, other := range m.all {
			if other.info.Origin.Dataset() == d {
				other.info.Origin = messages.SnapshotName(string(name) + string(other.info.Origin[len(d):]))
			}
		}
	}
	return nil
}

// home is a node after its seed: a branch with one pass and a live copy of it.
func home(t *testing.T) (*Service, *estate, messages.Snapshot) {
	t.Helper()
	m := &estate{t: t, all: map[messages.Dataset]*kinsman{}}
	s := New(Config{Cluster: "main", Node: "db1", Dataset: "tank/pg", Lineage: "tank/l", KeepPasses: 2, KeepBases: 50},
		Deps{ZFS: m, Now: time.Now, Log: zerolog.Nop()})
	s.j = resync.Journal{Phase: messages.PhaseIdle, ID: messages.NewResyncID(time.Now()), Proven: true}
	m.make("tank", "")
	m.make("tank/l", "")
	m.make("tank/l/data", "")
	seed := m.snap("tank/l/data")
	m.make("tank/pg", seed.Name)
	return s, m, seed
}

// reign is a term as the primary: bookmarks of the past, and snapshots of its own.
func (m *estate) reign(snapshots int) (last messages.Snapshot) {
	live := m.all["tank/pg"]
	var past messages.History
	for origin := live.info.Origin; origin != ""; origin = m.all[origin.Dataset()].info.Origin {
		past = append(past, m.all[origin.Dataset()].versions...)
	}
	for _, v := range plan.Inherited(live.versions, past, 50) {
		id, _ := messages.SnapshotIDOf(v.Name)
		m.mark("tank/pg", v, id.InheritedName(live.info.GUID))
	}
	for range snapshots {
		last = m.snap("tank/pg")
		live.held[last.Name] = true
		m.mark("tank/pg", last, last.Name.Short())
	}
	return last
}

// comeBack is a resync of the deposed primary on its own snapshot, up to the proof.
func (m *estate) comeBack(s *Service, base messages.Snapshot, branch messages.Dataset) messages.Snapshot {
	s.j.ID = messages.NewResyncID(time.Now())
	m.make(branch, base.Name)
	got := m.snap(branch)
	_ = m.Rename(context.Background(), "tank/pg", "tank/pg.pgresync-old") // the estate never fails
	m.all["tank/pg.pgresync-old"].info.Marks[messages.PropDiverged] = "now"
	m.make("tank/pg", got.Name)
	return got
}

func TestFiveTermsLeaveOneBranchAndNoBaseIsLost(t *testing.T) {
	s, m, seed := home(t)
	bases := []messages.Snapshot{seed}
	for round := 1; round <= 5; round++ {
		last := m.reign(3)
		m.reign(1) // nobody else has this one
		branch := messages.Dataset(fmt.Sprintf("tank/l/data-%d", round))
		bases = append(bases, last, m.comeBack(s, last, branch))
		for range 2 {
			if err := s.tendIfProven(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.disposeOld(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.pruneLineage(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.names("tank/l"); !slices.Equal(got, []messages.Dataset{"tank/l", branch}) {
			t.Fatalf("round %d: lineage holds %v, want one branch", round, got)
		}
		for _, b := range bases {
			if _, ok := m.all[branch].versions.ByGUID(b.GUID); !ok {
				t.Fatalf("round %d: base %s is neither a snapshot nor a bookmark any more", round, b.Name)
			}
		}
		diverged := s.cfg.kept("diverged", s.j.ID)
		if m.all[diverged] == nil {
			t.Fatalf("round %d: the diverged data is gone: %v", round, m.names("tank"))
		}
		if err := m.DestroyDataset(t.Context(), diverged); err != nil {
			t.Fatalf("round %d: its operator cannot let it go: %v", round, err)
		}
	}
	snapshots := 0
	for _, v := range m.all["tank/l/data-5"].versions {
		if !v.Bookmark {
			snapshots++
		}
	}
	if snapshots > 4 {
		t.Errorf("%d snapshots are left of five rounds: %v", snapshots, m.all["tank/l/data-5"].versions)
	}
}

func TestASnapshotOfAStandbyLeavesABookmark(t *testing.T) {
	s, m, seed := home(t)
	passes := []messages.Snapshot{seed}
	for range 5 {
		passes = append(passes, m.snap("tank/l/data"))
	}
	if err := s.pruneLineage(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The seed is the live copy's origin, the last two are to be kept.
	for i, p := range passes {
		v, ok := m.all["tank/l/data"].versions.ByGUID(p.GUID)
		if want := i > 0 && i < 4; !ok || v.Bookmark != want {
			t.Errorf("pass %d: there %v, a bookmark %v, want a bookmark %v", i, ok, v.Bookmark, want)
		}
	}
	// What a live copy hangs on is no leftover, however many resyncs have failed since.
	if left, _, err := s.surplus(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("still to be removed: %v, error %v", left, err)
	}
}

// obliging is a primary that does what it is asked about slots.
type obliging struct{ Primary }

func (obliging) Slot(context.Context, messages.ResyncID, messages.SlotAction) (messages.SlotState, error) {
	return messages.SlotState{}, nil
}

// TestAnOlderBranchGoesWithItsLastCopy: the old copy was made of a version that the
// new branch has nothing of, and keeps the older branch busy as long as it is there.
func TestAnOlderBranchGoesWithItsLastCopy(t *testing.T) {
	for _, diverged := range []bool{false, true} {
		t.Run(fmt.Sprintf("diverged %v", diverged), func(t *testing.T) {
			s, m, seed := home(t)
			now := time.Now()
			s.now, s.primary = func() time.Time { return now }, obliging{}
			m.all["tank/pg"].info.Origin = m.snap("tank/l/data").Name // of a primary that is gone
			got := m.comeBack(s, seed, "tank/l/data-1")
			if !diverged {
				delete(m.all["tank/pg.pgresync-old"].info.Marks, messages.PropDiverged)
			}
			s.tidyWhenDue(t.Context())
			if diverged {
				if !slices.Contains(m.names("tank"), "tank/l/data") {
					t.Fatalf("the branch of what waits for the operator is gone: %v", m.names("tank"))
				}
				if listed, err := s.idleBranches(t.Context()); err != nil || len(listed) > 0 {
					t.Errorf("would be removed: %v, error %v; what waits for the operator needs it", listed, err)
				}
				if err := m.DestroyDataset(t.Context(), s.cfg.kept("diverged", s.j.ID)); err != nil {
					t.Fatal(err)
				}
				if listed, err := s.idleBranches(t.Context()); err != nil || !slices.Equal(listed, []messages.Dataset{"tank/l/data"}) {
					t.Errorf("would be removed: %v, error %v, want the branch", listed, err)
				}
				now = now.Add(tidySoon)
				s.tidyWhenDue(t.Context())
			}
			want := []messages.Dataset{"tank", "tank/l", "tank/l/data-1", "tank/pg"}
			if there := m.names("tank"); !slices.Equal(there, want) {
				t.Errorf("there is %v, want %v", there, want)
			}
			if m.all["tank/pg"].info.Origin != got.Name {
				t.Errorf("the live copy is a clone of %s, want %s", m.all["tank/pg"].info.Origin, got.Name)
			}
		})
	}
}

// A branch that took over what a publisher held does not stay for that.
func TestAnOlderBranchGoesWithWhatWasHeldInIt(t *testing.T) {
	s, m, seed := home(t)
	held := m.snap("tank/l/data").Name
	m.all["tank/l/data"].held[held] = true
	m.all["tank/pg"].info.Origin = held
	m.comeBack(s, seed, "tank/l/data-1")
	delete(m.all["tank/pg.pgresync-old"].info.Marks, messages.PropDiverged)
	if err := errors.Join(s.disposeOld(t.Context()), s.tendIfProven(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := m.names("tank/l"); !slices.Equal(got, []messages.Dataset{"tank/l", "tank/l/data-1"}) {
		t.Errorf("lineage holds %v, want one branch", got)
	}
}

// markless cannot make bookmarks.
type markless struct{ *estate }

var errNoMarks = errors.New("no bookmarks today")

func (markless) Bookmark(context.Context, messages.SnapshotName, string) error { return errNoMarks }

func TestASnapshotWithoutItsBookmarkStays(t *testing.T) {
	s, m, _ := home(t)
	var passes []messages.Snapshot
	for range 5 {
		passes = append(passes, m.snap("tank/l/data"))
	}
	s.zfs = markless{m}
	if err := s.pruneLineage(t.Context()); !errors.Is(err, errNoMarks) {
		t.Errorf("error %v, want that of the bookmark", err)
	}
	for i, p := range passes {
		if v, ok := m.all["tank/l/data"].versions.ByGUID(p.GUID); !ok || v.Bookmark {
			t.Errorf("pass %d is gone, and nothing tells where it was", i)
		}
	}
}

func TestUnprovenCopiesAreLeftAlone(t *testing.T) {
	s, m, _ := home(t)
	last := m.reign(1)
	m.comeBack(s, last, "tank/l/data-1")
	s.j.Proven = false
	if err := s.tendIfProven(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.all["tank/l/data-1"].info.Origin.Dataset(); got != "tank/pg.pgresync-old" {
		t.Errorf("the branch is a clone of %q, want the copy that may have to come back", got)
	}
}

func TestBasesAreToldNewestFirst(t *testing.T) {
	s, m, seed := home(t)
	last := m.reign(messages.MaxBases + 1)
	s.noteBases(t.Context())
	newest, _ := messages.SnapshotIDOf(last.Name)
	if len(s.bases) != messages.MaxBases || s.bases[0] != newest {
		t.Errorf("got %v, want %d with %s first", s.bases, messages.MaxBases, newest)
	}
	delete(m.all, "tank/pg")
	s.noteBases(t.Context())
	if want, _ := messages.SnapshotIDOf(seed.Name); !slices.Equal(s.bases, []messages.SnapshotID{want}) {
		t.Errorf("without a live copy: got %v, want the lineage's %s", s.bases, want)
	}
}

func TestConnectionIsComparedWithTheLease(t *testing.T) {
	l := messages.Lease{Host: "10.0.0.1", Port: 5432}
	for conninfo, want := range map[string]bool{
		"host=10.0.0.1 port=5432 application_name=db2 user=r": true,
		"host=10.0.0.11 port=5432":                            false,
		"host=10.0.0.1 port=54321":                            false,
		"port=5432 host=10.0.0.1":                             true,
		"":                                                    false,
	} {
		if got := names(conninfo, l); got != want {
			t.Errorf("%q: got %v, want %v", conninfo, got, want)
		}
	}
	if strings.Contains(address(l), "  ") {
		t.Error("two blanks")
	}
}
