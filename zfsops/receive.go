package zfsops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// Receive feeds the stream r to zfs recv, which saves what arrives (-s), mounts
// nothing (-u) and is never forced.
//
// The BEGIN record is read and compared before zfs recv is started: a stream
// that is not the announced one is messages.ErrStreamMismatch and nothing has
// changed (I-5). An error of r ends zfs recv without giving it another byte; the
// result wraps that error and messages.ErrStreamCut. So does a stream that ended
// early. What had arrived by then is kept, List shows its token, and a Receive of
// the resumed stream into the same names goes on from there.
//
// An increment into a name that does not exist yet becomes a branch: a clone of
// the snapshot that has the GUID From, the nearest one in the pool;
// messages.ErrNotFound if there is none. An increment into an existing dataset is
// messages.ErrExists if the dataset has changed since From or does not have it,
// or if the sender's dataset is a clone and From is its origin's.
// messages.ErrBusy means that another partial receive waits there;
// messages.ErrPermission may mean that the data has arrived but a property of
// spec.Set was not allowed to be set.
//
// Receive does not return before r's last Read does. If zfs recv fails while r
// blocks and r is an io.Closer, r is closed.
func (z *ZFS) Receive(ctx context.Context, spec messages.ReceiveSpec, r io.Reader) error {
	target := spec.Into.Snapshot(spec.Snapshot)
	a := on("receive", target)
	args, err := assignments("-o", spec.Set)
	if err = errors.Join(isSnapshot(target), err); err != nil {
		return a.wrap(err)
	}
	record := make([]byte, BeginSize)
	if _, err := io.ReadFull(r, record); err != nil {
		return &Error{Op: a.op, Object: a.object, Kind: messages.ErrStreamCut, Cause: err}
	}
	begin, err := ParseBegin(record)
	if err == nil {
		err = errors.Join(begin.check(spec.To, spec.From), begin.checkFlags(spec.Flags))
	}
	if err != nil {
		return a.wrap(err)
	}
	if err := z.checkMixing(ctx, a, &spec, &begin); err != nil {
		return err
	}
	origin, err := z.origin(ctx, a, &spec)
	if err != nil {
		return err
	}
	args = append(append([]string{"receive", "-s", "-u"}, args...), append(origin, string(target))...)
	if err := z.feed(ctx, a, args, &watched{head: bytes.NewReader(record), rest: r}); err != nil {
		return z.explain(ctx, a, spec.Into, err)
	}
	return z.checkReceived(ctx, a, &spec)
}

// checkMixing refuses to continue a dataset that was received raw with a stream that
// is not, and the other way round: mixed, they corrupt it (openzfs#11688, #12594).
// What was received raw has a key of its own, or that of its origin; what only lies
// below an encrypted dataset has that one's, and is continued by plain streams.
func (z *ZFS) checkMixing(ctx context.Context, a act, spec *messages.ReceiveSpec, begin *Begin) error {
	got, err := z.get(ctx, on(a.op, spec.Into), "encryptionroot")
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	root, raw := orEmpty(got["encryptionroot"].value), begin.Features&FeatureRaw != 0
	own := root != "" && !strings.HasPrefix(string(spec.Into), root+"/")
	if own != raw {
		return a.is(messages.ErrStreamMismatch, "the stream is raw: %t, the dataset's key is that of %q; a chain is raw throughout or not at all", raw, root)
	}
	return nil
}

// checkReceived looks at what an exit status of 0 is worth. zfs recv also exits 0
// when it was not allowed to set a property given with -o (OpenZFS 2.3.9, "cannot
// receive readonly property on …: permission denied").
func (z *ZFS) checkReceived(ctx context.Context, a act, spec *messages.ReceiveSpec) error {
	target := spec.Into.Snapshot(spec.Snapshot)
	got, err := z.guid(ctx, a.op, target)
	if err != nil {
		return err
	}
	if got != spec.To {
		return a.is(messages.ErrStreamMismatch, "what was received has GUID %s, announced was %s", got, spec.To)
	}
	if len(spec.Set) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(spec.Set))
	props, err := z.get(ctx, on(a.op, spec.Into), keys...)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if !props[key].local() {
			return &Error{
				Op: a.op, Object: a.object, Kind: messages.ErrPermission, Hint: "zfs allow … " + key,
				Cause: fmt.Errorf("the data was received, but property %s was not set", key),
			}
		}
	}
	return nil
}

// origin says from what a new dataset is to be cloned. Without it zfs recv makes
// a branch only from streams whose sender was a clone too (DRR_FLAG_CLONE).
func (z *ZFS) origin(ctx context.Context, a act, spec *messages.ReceiveSpec) ([]string, error) {
	if spec.From == 0 {
		return nil, nil
	}
	_, err := z.get(ctx, on(a.op, spec.Into), "type")
	if !errors.Is(err, messages.ErrNotFound) {
		return nil, err
	}
	for d := spec.Into.Parent(); d != ""; d = d.Parent() {
		out, err := z.output(ctx, on(a.op, d), "list", "-Hp", "-r", "-t", "snapshot", "-o", "name,guid,"+messages.PropCluster, string(d))
		if err != nil {
			return nil, err
		}
		rows, err := parseTable(out, 3)
		if err != nil {
			return nil, a.wrap(err)
		}
		if name := chooseOrigin(rows, spec.From); name != "" {
			return []string{"-o", "origin=" + name}, nil
		}
	}
	return nil, a.is(messages.ErrNotFound, "no snapshot with the base's GUID %s in the pool", spec.From)
}

// chooseOrigin prefers a snapshot of ours to a foreign one of the same content,
// which would be kept from being destroyed by its owner.
func chooseOrigin(rows [][]string, from messages.GUID) (name string) {
	for _, row := range rows {
		if row[1] != from.String() {
			continue
		}
		if orEmpty(row[2]) != "" {
			return row[0]
		}
		if name == "" {
			name = row[0]
		}
	}
	return name
}

// explain tells a partial receive that is in the way from a dataset that is:
// zfs recv says "exists" of the beginning of a full receive.
func (z *ZFS) explain(ctx context.Context, a act, into messages.Dataset, err error) error {
	var e *Error
	if !errors.As(err, &e) || !errors.Is(e.Kind, messages.ErrExists) {
		return err
	}
	got, getErr := z.get(ctx, on(a.op, into), "receive_resume_token")
	if getErr == nil && orEmpty(got["receive_resume_token"].value) != "" {
		e.Kind, e.Hint = messages.ErrBusy, hintPartial
	}
	return err
}

func (z *ZFS) feed(ctx context.Context, a act, args []string, in *watched) error {
	c := z.command(z.opts.ZFS, args...)
	c.Stdin = in
	runErr := c.Run(ctx)
	if runErr == nil {
		return nil
	}
	if errors.Is(runErr, command.ErrInputLeft) {
		return a.is(messages.ErrStreamMismatch, "the stream goes on behind its end: %w", runErr)
	}
	err := a.failed(runErr)
	var e *Error
	// An error of a stream that was closed because zfs recv had failed is not in
	// runErr; one that is there is the reason, whatever zfs recv says of it.
	if in.err != nil && errors.Is(runErr, in.err) && errors.As(err, &e) {
		e.Kind, e.Hint = messages.ErrStreamCut, ""
	}
	return err
}

// watched is the whole stream again, and remembers why reading it failed.
type watched struct {
	head *bytes.Reader
	rest io.Reader
	err  error // read after the run, when nothing reads any more
}

func (w *watched) Read(p []byte) (int, error) {
	if w.head.Len() > 0 {
		return w.head.Read(p)
	}
	n, err := w.rest.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// Close ends a blocked Read of the stream, if it can.
func (w *watched) Close() error {
	if c, ok := w.rest.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// AbortReceive gives up a partial receive into d and the space it holds. A d
// that exists only as the beginning of a full receive goes with it. It is no
// error if there is none. d or a parent of it must carry our mark, else
// messages.ErrNotOurs.
func (z *ZFS) AbortReceive(ctx context.Context, d messages.Dataset) error {
	a := on("abort the receive into", d)
	got, err := z.get(ctx, a, "receive_resume_token", messages.PropCluster)
	if errors.Is(err, messages.ErrNotFound) {
		return nil
	}
	if err != nil || orEmpty(got["receive_resume_token"].value) == "" {
		return err
	}
	if orEmpty(got[messages.PropCluster].value) == "" {
		return a.is(messages.ErrNotOurs, "neither it nor a dataset above it has %s", messages.PropCluster)
	}
	return z.run(ctx, a, "receive", "-A", string(d))
}
