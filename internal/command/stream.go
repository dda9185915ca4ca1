package command

import (
	"context"
	"io"
	"os"
	"sync"
)

// Stream starts the child and returns its standard output. Read returns io.EOF
// only if the child exited 0, otherwise *Error; bytes delivered before an
// *Error are not to be trusted to be complete. When ctx ends the child is
// ended and Read fails. Close must be called; it ends the child if it still
// runs, waits for it, and may be called while a Read blocks.
func (c Command) Stream(ctx context.Context) (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, &Error{Argv: c.argv(), ExitCode: -1, Cause: err}
	}
	growPipe(w)
	ctx, cancel := context.WithCancelCause(ctx)
	// The read end is closed at once, not after the child's end: a zfs send that
	// blocks in the kernel on a full pipe does not die of signals (openzfs#12500).
	p := c.process(ctx, streams{out: w}, func() { _ = r.Close() })
	feed, err := p.startFed(ctx, c.Stdin)
	w.Close() //nolint:errcheck,gosec // the child has its own copy
	if err != nil {
		cancel(nil)
		r.Close() //nolint:errcheck,gosec // never used
		return nil, err
	}
	return &stream{r: r, p: p, feed: feed, cancel: cancel}, nil
}

type stream struct {
	r      *os.File
	p      *process
	feed   *feeder
	cancel context.CancelCauseFunc

	once sync.Once
	err  error
}

// errClosed is the cause of a child that was ended by Close.
var errClosed = os.ErrClosed

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	if err = s.wait(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// Close never reports the child's end: whoever reads learns it from Read.
func (s *stream) Close() error {
	s.cancel(errClosed)
	s.r.Close() //nolint:errcheck,gosec // closed already when the context ended first
	s.wait()    //nolint:errcheck,gosec // ended by us, or reported by Read
	return nil
}

func (s *stream) wait() error {
	s.once.Do(func() {
		// A read end that fails for another reason than the child's end must not
		// leave the child blocked in a write.
		s.r.Close() //nolint:errcheck,gosec // at its end
		err := s.p.wait()
		s.err = s.p.result(err, s.feed.finish(err == nil))
		s.cancel(nil)
	})
	return s.err
}
