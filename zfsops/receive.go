package zfsops

import (
	"bytes"
	"context"
	"errors"
	"io"

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
	if err != nil {
		return a.wrap(err)
	}
	if err := begin.check(spec.To, spec.From); err != nil {
		return a.wrap(err)
	}
	args = append(append([]string{"receive", "-s", "-u"}, args...), string(target))
	if err := z.feed(ctx, a, args, &watched{head: bytes.NewReader(record), rest: r}); err != nil {
		return err
	}
	got, err := z.guid(ctx, a.op, target)
	if err != nil {
		return err
	}
	if got != spec.To {
		return a.is(messages.ErrStreamMismatch, "what was received has GUID %s, announced was %s", got, spec.To)
	}
	return nil
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
	if in.err != nil && errors.As(err, &e) {
		// Whatever zfs recv says of it, this is why.
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
