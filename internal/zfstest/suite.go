package zfstest

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/messages"
)

// Suite is the contract of zfsops.ZFS: what callers may rely upon, whichever ZFS
// is below. newEnv is called once for every test in it.
func Suite(t *testing.T, newEnv func(t *testing.T) *Env) {
	t.Helper()
	groups := []map[string]func(*T){listTests, snapshotTests, streamTests, cloneTests, resumeTests, rawTests, cutTests, datasetTests, destroyTests}
	for _, group := range groups {
		names := make([]string, 0, len(group))
		for name := range group {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			t.Run(name, func(t *testing.T) { group[name](&T{t, newEnv(t)}) })
		}
	}
}

// T is one test of the suite and its place.
type T struct {
	*testing.T
	*Env
}

const cluster = "main"

// ours is the mark of a dataset that pgresync made.
var ours = map[string]string{messages.PropCluster: cluster}

// with is props and one more.
func with(props map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, props)
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func wantErr(tb testing.TB, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Fatalf("got error %v, want %v", err, want)
	}
}

func diff(tb testing.TB, got, want any) {
	tb.Helper()
	if d := cmp.Diff(want, got); d != "" {
		tb.Fatalf("(-want +got)\n%s", d)
	}
}

// child creates root/rel, unmounted.
func (t *T) child(rel messages.RelName, props map[string]string) messages.Dataset {
	t.Helper()
	d := t.Root.Child(rel)
	ok(t, t.ZFS.Create(t.Context(), d, props))
	return d
}

// data creates root/rel, mounted in a directory of the test.
func (t *T) data(rel messages.RelName) messages.Dataset {
	t.Helper()
	d := t.child(rel, with(nil, "mountpoint", t.TempDir()+"/mount point", "atime", "off"))
	t.mount(d)
	return d
}

func (t *T) mount(d messages.Dataset) {
	t.Helper()
	ok(t, t.ZFS.Mount(t.Context(), d))
	t.Cleanup(func() {
		// Whatever the test did with it, the directory must not stay busy.
		err := t.ZFS.Unmount(context.WithoutCancel(t.Context()), d)
		if err != nil && !errors.Is(err, messages.ErrNotFound) {
			t.Error(err)
		}
	})
}

// snap takes a snapshot with a name of ours.
func (t *T) snap(d messages.Dataset) messages.SnapshotName {
	t.Helper()
	id := messages.NewSnapshotID(time.Now())
	ok(t, t.ZFS.SnapshotTree(t.Context(), d, id.ShortName(), map[string]string{messages.PropID: string(id)}))
	return d.Snapshot(id.ShortName())
}

func (t *T) info(d messages.Dataset) messages.DatasetInfo {
	t.Helper()
	infos, err := t.ZFS.List(t.Context(), d)
	ok(t, err)
	return infos[0]
}

func (t *T) history(d messages.Dataset) messages.History {
	t.Helper()
	h, err := t.ZFS.Histories(t.Context(), d)
	ok(t, err)
	return h[d]
}

func (t *T) guid(n messages.SnapshotName) messages.GUID {
	t.Helper()
	for _, s := range t.history(n.Dataset()) {
		if s.Name == n {
			return s.GUID
		}
	}
	t.Fatalf("%s is not there", n)
	return 0
}

// spec is the send of target from base, which may be "".
func (t *T) spec(target, base messages.SnapshotName) messages.SendSpec {
	t.Helper()
	s := messages.SendSpec{Target: target, To: t.guid(target), Base: base, Flags: messages.FlagsPlain}
	if base != "" {
		s.From = t.guid(base)
	}
	return s
}

// transfer sends and receives, at most limit bytes if that is not negative.
func (t *T) transfer(s messages.SendSpec, into messages.Dataset, set map[string]string, limit int64) error {
	t.Helper()
	r, err := t.ZFS.Send(t.Context(), s)
	ok(t, err)
	defer r.Close()
	var in io.Reader = r
	if limit >= 0 {
		in = &cut{io.LimitReader(r, limit), errCut}
	}
	return t.ZFS.Receive(t.Context(), messages.ReceiveSpec{Into: into, Snapshot: s.Target.Short(), To: s.To, From: s.From, Set: set}, in)
}

var errCut = errors.New("the network was cut")

// cut ends in an error instead of EOF; nil is an early EOF.
type cut struct {
	r   io.Reader
	err error
}

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if errors.Is(err, io.EOF) && c.err != nil {
		err = c.err
	}
	return n, err
}

// contentOf is the content of a snapshot, seen through a clone.
func (t *T) contentOf(n messages.SnapshotName) string {
	t.Helper()
	d := t.Root.Child(messages.RelName("look at " + strings.ReplaceAll(n.Short(), "-", "") + strings.ReplaceAll(string(n.Dataset()[len(t.Root):]), "/", "")))
	ok(t, t.ZFS.Clone(t.Context(), n, d, with(ours, "mountpoint", t.TempDir()+"/clone")))
	ok(t, t.ZFS.Mount(t.Context(), d))
	content := t.Content(t, d)
	ok(t, t.ZFS.Unmount(t.Context(), d))
	ok(t, t.ZFS.DestroyDataset(t.Context(), d))
	return content
}
