package zfstest

import (
	"context"
	"errors"
	"io"
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
	groups := []map[string]func(*testing.T, *Env){listTests, snapshotTests, streamTests, resumeTests, datasetTests, destroyTests}
	for _, group := range groups {
		names := make([]string, 0, len(group))
		for name := range group {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			t.Run(name, func(t *testing.T) { group[name](t, newEnv(t)) })
		}
	}
}

const cluster = "main"

// ours is the mark of a dataset that pgresync made.
var ours = map[string]string{messages.PropCluster: cluster}

// with is props and one more.
func with(props map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for key, value := range props {
		all[key] = value
	}
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func diff(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

// child creates root/rel, unmounted.
func (e *Env) child(t *testing.T, rel messages.RelName, props map[string]string) messages.Dataset {
	t.Helper()
	d := e.Root.Child(rel)
	ok(t, e.ZFS.Create(t.Context(), d, props))
	return d
}

// data creates root/rel, mounted in a directory of the test.
func (e *Env) data(t *testing.T, rel messages.RelName, props map[string]string) messages.Dataset {
	t.Helper()
	d := e.child(t, rel, with(props, "mountpoint", t.TempDir()+"/mount point", "atime", "off"))
	e.mount(t, d)
	return d
}

func (e *Env) mount(t *testing.T, d messages.Dataset) {
	t.Helper()
	ok(t, e.ZFS.Mount(t.Context(), d))
	t.Cleanup(func() {
		// Whatever the test did with it, the directory must not stay busy.
		err := e.ZFS.Unmount(context.WithoutCancel(t.Context()), d)
		if err != nil && !errors.Is(err, messages.ErrNotFound) {
			t.Error(err)
		}
	})
}

// snap takes a snapshot with a name of ours.
func (e *Env) snap(t *testing.T, d messages.Dataset) messages.SnapshotName {
	t.Helper()
	id := messages.NewSnapshotID(time.Now())
	ok(t, e.ZFS.SnapshotTree(t.Context(), d, id.ShortName(), map[string]string{messages.PropID: string(id)}))
	return d.Snapshot(id.ShortName())
}

func (e *Env) info(t *testing.T, d messages.Dataset) messages.DatasetInfo {
	t.Helper()
	infos, err := e.ZFS.List(t.Context(), d)
	ok(t, err)
	return infos[0]
}

func (e *Env) history(t *testing.T, d messages.Dataset) messages.History {
	t.Helper()
	h, err := e.ZFS.Histories(t.Context(), d)
	ok(t, err)
	return h[d]
}

func (e *Env) guid(t *testing.T, n messages.SnapshotName) messages.GUID {
	t.Helper()
	for _, s := range e.history(t, n.Dataset()) {
		if s.Name == n {
			return s.GUID
		}
	}
	t.Fatalf("%s is not there", n)
	return 0
}

// spec is the send of target from base, which may be "".
func (e *Env) spec(t *testing.T, target, base messages.SnapshotName) messages.SendSpec {
	t.Helper()
	s := messages.SendSpec{Target: target, To: e.guid(t, target), Base: base, Flags: messages.FlagsPlain}
	if base != "" {
		s.From = e.guid(t, base)
	}
	return s
}

// transfer sends and receives, at most limit bytes if that is not negative.
func (e *Env) transfer(t *testing.T, s messages.SendSpec, into messages.Dataset, set map[string]string, limit int64) error {
	t.Helper()
	r, err := e.ZFS.Send(t.Context(), s)
	ok(t, err)
	defer r.Close()
	var in io.Reader = r
	if limit >= 0 {
		in = &cut{io.LimitReader(r, limit), errCut}
	}
	return e.ZFS.Receive(t.Context(), messages.ReceiveSpec{Into: into, Snapshot: s.Target.Short(), To: s.To, From: s.From, Set: set}, in)
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
func (e *Env) contentOf(t *testing.T, n messages.SnapshotName) string {
	t.Helper()
	d := e.Root.Child(messages.RelName("look at " + strings.ReplaceAll(n.Short(), "-", "") + strings.ReplaceAll(string(n.Dataset()[len(e.Root):]), "/", "")))
	ok(t, e.ZFS.Clone(t.Context(), n, d, with(ours, "mountpoint", t.TempDir()+"/clone")))
	ok(t, e.ZFS.Mount(t.Context(), d))
	content := e.Content(t, d)
	ok(t, e.ZFS.Unmount(t.Context(), d))
	ok(t, e.ZFS.DestroyDataset(t.Context(), d))
	return content
}
