package zfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

// receiving is one zfs receive.
type receiving struct {
	name, short string
	save        bool
	origin      string
	props       map[string]string
	begin       zfsops.Begin
}

func (r *receiving) what() string {
	switch {
	case r.begin.Features&zfsops.FeatureResuming != 0:
		return "cannot receive resume stream"
	case r.begin.FromGUID != 0:
		return "cannot receive incremental stream"
	}
	return "cannot receive new filesystem stream"
}

func (f *fake) receive(args []string) error {
	opts, rest, err := words(args, "suAo:", 1)
	if err != nil {
		return err
	}
	if has(opts, 'A') {
		return f.abort(rest[0])
	}
	r := &receiving{save: has(opts, 's')}
	opts['o'] = slices.DeleteFunc(opts['o'], func(o string) bool {
		name, is := strings.CutPrefix(o, "origin=")
		if is {
			r.origin = name
		}
		return is
	})
	if r.props, err = pairs(opts['o']); err != nil {
		return err
	}
	r.name, r.short, _ = strings.Cut(rest[0], "@")
	f.unlocked = func() error { return f.take(r) }
	return nil
}

func (f *fake) abort(name string) error {
	d, _, err := f.open(name)
	if err != nil {
		return err
	}
	switch {
	case d.Partial == nil:
		return refuse("'%s' does not have any resumable receive state to abort", name)
	case d.Partial.New:
		delete(f.Datasets, name)
	default:
		d.Partial = nil
	}
	return nil
}

// take checks the destination, reads the stream, and keeps what came.
func (f *fake) take(r *receiving) error {
	record := make([]byte, zfsops.BeginSize)
	if _, err := io.ReadFull(f.in, record); err != nil {
		return refuse("cannot receive: failed to read from stream")
	}
	begin, err := zfsops.ParseBegin(record)
	if err != nil {
		return refuse("cannot receive: invalid stream (bad magic number)")
	}
	r.begin = begin
	if err := f.locked(func() error { return f.admit(r) }); err != nil {
		return err
	}
	got, err := readStream(io.MultiReader(bytes.NewReader(record), f.in))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	return f.locked(func() error {
		if err := f.admit(r); err != nil {
			return err
		}
		return f.keep(r, got)
	})
}

// newFS reports whether the stream makes a file system, rather than adding to
// one.
func (r *receiving) newFS() bool {
	return r.begin.FromGUID == 0 || r.begin.Clone || r.origin != ""
}

// admit is what libzfs and recv_begin_check_existing_impl allow on top of what
// is there.
func (f *fake) admit(r *receiving) error {
	d := f.Datasets[r.name]
	resuming := r.begin.Features&zfsops.FeatureResuming != 0
	switch {
	case d == nil && (resuming || !r.newFS()):
		return refuse("%s: destination '%s' does not exist", r.what(), r.name)
	case d == nil:
		return f.admitNew(r)
	case r.newFS() && resuming && d.Partial == nil:
		return refuse("%s: Resuming recv on existing destination '%s'\nmust specify -F to overwrite it", r.what(), r.name)
	case r.newFS() && !resuming:
		return refuse("%s: destination '%s' exists\nmust specify -F to overwrite it", r.what(), r.name)
	case d.Partial != nil:
		t := d.Partial.Token
		if resuming && t.ToGUID == r.begin.ToGUID && t.FromGUID == r.begin.FromGUID {
			return nil
		}
		return refuse("%s: destination %s contains partially-complete state from \"zfs receive -s\".", r.what(), r.name)
	}
	return f.admitIncrement(r, d)
}

// admitIncrement lets snapshots pass between which nothing was written.
func (f *fake) admitIncrement(r *receiving, d *dataset) error {
	i := slices.IndexFunc(d.Snapshots, func(s *version) bool { return s.GUID == uint64(r.begin.FromGUID) })
	switch {
	case i < 0:
		return refuse("%s: most recent snapshot of %s does not\nmatch incremental source", r.what(), r.name)
	case !slices.Equal(d.Data, d.Snapshots[i].Data):
		return refuse("%s: destination %s has been modified\nsince most recent snapshot", r.what(), r.name)
	case indexVersion(d.Snapshots, r.short) >= 0:
		return refuse("cannot restore to %s@%s: destination already exists", r.name, r.short)
	}
	return nil
}

func (f *fake) admitNew(r *receiving) error {
	if up := parentOf(r.name); f.Datasets[up] == nil {
		return refuse("cannot open '%s': dataset does not exist\n%s: unable to restore to destination", up, r.what())
	}
	if r.origin == "" && r.begin.FromGUID != 0 {
		r.origin = f.byGUID(uint64(r.begin.FromGUID), false)
	}
	if r.begin.FromGUID == 0 {
		return nil
	}
	if _, v, ok := f.find(r.origin); !ok || v.GUID != uint64(r.begin.FromGUID) {
		return refuse("%s: local origin for clone %s@%s does not exist", r.what(), r.name, r.short)
	}
	return nil
}

func (f *fake) keep(r *receiving, got *received) error {
	d := f.Datasets[r.name]
	isNew := d == nil
	if isNew {
		d = f.newDataset(nil)
		d.Origin = r.origin
		f.Datasets[r.name] = d
	}
	f.setReceived(r, d)
	if r.begin.Features&zfsops.FeatureRaw != 0 {
		d.Props["encryption"] = prop{"aes-256-gcm", "-"}
	}
	if got != nil && got.complete {
		d.Data = slices.Clone(got.head.Data)
		d.Snapshots = append(d.Snapshots, &version{
			Short: r.short, GUID: uint64(r.begin.ToGUID), TXG: f.nextTXG(), Data: got.head.Data, Props: map[string]prop{},
		})
		d.Partial = nil
		return nil
	}
	return f.keepPartial(r, got, d, isNew)
}

// setReceived passes over what is not allowed, with a word on standard error
// and no more, as zfs receive does.
func (f *fake) setReceived(r *receiving, d *dataset) {
	for key, value := range r.props {
		if key == os.Getenv(denyEnv) {
			fmt.Fprintf(os.Stderr, "cannot receive %s property on %s: permission denied\n", key, r.name)
			continue
		}
		d.Props[key] = prop{value, "local"}
	}
}

func (f *fake) keepPartial(r *receiving, got *received, d *dataset, isNew bool) error {
	if !r.save || got == nil || got.at == 0 {
		if isNew {
			delete(f.Datasets, r.name)
		}
		return refuse("%s: incomplete stream", r.what())
	}
	if d.Partial == nil {
		d.Partial = &partial{New: isNew, Token: zfsops.Token{
			ToGUID: r.begin.ToGUID, FromGUID: r.begin.FromGUID, ToName: messages.SnapshotName(r.begin.ToName), Object: 2,
			Compressed: r.begin.Features&zfsops.FeatureCompressed != 0, Raw: r.begin.Features&zfsops.FeatureRaw != 0,
		}}
	}
	d.Partial.Token.Offset, d.Partial.Token.Bytes = got.at, got.at
	d.Partial.Short, d.Partial.Data = r.short, got.head.Data
	return refuse("%s: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n"+
		"A resuming stream can be generated on the sending system by running:\n    zfs send -t %s", r.what(), d.Partial.Token.Encode())
}
