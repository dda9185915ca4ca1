package zfsops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// Estimate asks ZFS how many bytes Send will produce; 0 when ZFS does not say.
// The errors are those of Send.
func (z *ZFS) Estimate(ctx context.Context, spec messages.SendSpec) (uint64, error) {
	a := on("estimate the send of", spec.Target)
	args, err := z.sendArgs(ctx, a, &spec)
	if err != nil {
		return 0, err
	}
	out, err := z.output(ctx, a, append([]string{"send", "-nP"}, args...)...)
	return parseEstimate(out), err
}

// Send starts zfs send. The reader ends in io.EOF only if zfs send exited 0,
// and must be closed, which ends zfs send if it still runs.
//
// Right before, the GUIDs behind Target and Base are compared with To and From:
// messages.ErrNotFound if one of them is gone or is another snapshot now. A token
// is untrusted: it is decoded, compared with the spec (messages.ErrTokenInvalid)
// and encoded anew (openzfs#14153). The stream's own BEGIN record is checked too
// (messages.ErrStreamMismatch), since names can change hands in between.
func (z *ZFS) Send(ctx context.Context, spec messages.SendSpec) (io.ReadCloser, error) {
	a := on("send", spec.Target)
	args, err := z.sendArgs(ctx, a, &spec)
	if err != nil {
		return nil, err
	}
	r, err := z.command(z.opts.ZFS, append([]string{"send"}, args...)...).Stream(ctx)
	if err != nil {
		return nil, a.failed(err)
	}
	record := make([]byte, BeginSize)
	if _, err = io.ReadFull(r, record); err == nil {
		var begin Begin
		if begin, err = ParseBegin(record); err == nil {
			err = begin.check(spec.To, spec.From)
		}
	}
	if err != nil {
		r.Close() //nolint:errcheck,gosec // the first error is the one that counts
		return nil, a.failed(err)
	}
	return &sendStream{act: a, head: bytes.NewReader(record), rest: r}, nil
}

// sendArgs checks the spec against what is there now.
func (z *ZFS) sendArgs(ctx context.Context, a act, spec *messages.SendSpec) ([]string, error) {
	if err := isSnapshot(spec.Target); err != nil {
		return nil, a.wrap(err)
	}
	if (spec.Base == "") != (spec.From == 0) || spec.To == 0 {
		return nil, a.wrap(fmt.Errorf("base %q with GUID %s, target GUID %s: want a name and its GUID together", spec.Base, spec.From, spec.To))
	}
	if err := z.checkGUID(ctx, a, spec.Target, spec.To); err != nil {
		return nil, err
	}
	if spec.Base != "" {
		if err := z.checkGUID(ctx, a, spec.Base, spec.From); err != nil {
			return nil, err
		}
	}
	if spec.Token != "" {
		token, err := ParseToken(spec.Token)
		if err == nil {
			err = token.check(spec)
		}
		if err != nil {
			return nil, a.wrap(err)
		}
		return []string{"-t", string(token.Encode())}, nil
	}
	args, err := sendFlags(spec.Flags)
	if err != nil {
		return nil, a.wrap(err)
	}
	if spec.Base != "" {
		args = append(args, "-i", string(spec.Base))
	}
	return append(args, string(spec.Target)), nil
}

// checkGUID is messages.ErrNotFound unless n is the snapshot that was meant.
func (z *ZFS) checkGUID(ctx context.Context, a act, n messages.SnapshotName, want messages.GUID) error {
	have, err := z.guid(ctx, a.op, n)
	if err != nil {
		return err
	}
	if have != want {
		return a.is(messages.ErrNotFound, "%s has GUID %s now, not %s", n, have, want)
	}
	return nil
}

func sendFlags(f messages.SendFlags) ([]string, error) {
	switch f {
	case messages.FlagsPlain, messages.FlagsRaw:
		return strings.Fields(string(f)), nil
	}
	return nil, fmt.Errorf("send flags %q: want %q or %q", f, messages.FlagsPlain, messages.FlagsRaw)
}

// sendStream gives the BEGIN record back first, and speaks of errors in ZFS's
// terms.
type sendStream struct {
	act  act
	head *bytes.Reader
	rest io.ReadCloser
}

func (s *sendStream) Read(p []byte) (int, error) {
	if s.head.Len() > 0 {
		return s.head.Read(p)
	}
	n, err := s.rest.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.act.failed(err)
	}
	return n, err
}

func (s *sendStream) Close() error { return s.rest.Close() }
